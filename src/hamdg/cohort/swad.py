"""Where SWAD's average of one source model begins and ends, found from the validation losses that chose it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add
from typing import TypedDict

from hamdg.config.recipe import HistoryConfig
from hamdg.merge.functional.trajectory import Valley


class ValleyFacts(TypedDict):
    """What one source's average is the mean of.

    `found`: a valley began; without one, all states count. `ended`: it ended before the training did. `first_step` and
    `last_step`: of the first and the last state in the average. `states`: how many there are. `threshold`: the loss
    that would have ended it; `None` if none began.
    """

    found: bool
    ended: bool
    first_step: int
    last_step: int
    states: int
    threshold: float | None


def valley_facts(config: HistoryConfig, states: Iterable[int], losses: Mapping[int, float]) -> ValleyFacts:
    """Find again the valley that `SwadAverage` found as the losses came in.

    Args:
        config: How a valley is recognized.
        states: The steps after which the weights entered the history.
        losses: The loss on the hold-out set by step; the last state has one.
    """
    valley: Valley[tuple[int, ...]] = Valley(config.n_s, config.n_e, config.r, "all", "keep", add)
    steps, before = sorted(states), 0
    for check in sorted(losses):
        valley.add(tuple(step for step in steps if before < step <= check), losses[check])
        before = check
    chosen = sum(valley.chosen(), ())
    return ValleyFacts(
        found=valley.threshold is not None,
        ended=valley.ended,
        first_step=chosen[0],
        last_step=chosen[-1],
        states=len(chosen),
        threshold=valley.threshold,
    )


def describe_valley(facts: ValleyFacts) -> str:
    """Return the facts as a sentence without its full stop."""
    states = f"the mean of {facts['states']} states, of steps {facts['first_step']} to {facts['last_step']}"
    if not facts["found"]:
        return f"no valley of the validation loss began, so SWAD is {states}: all there are"
    end = "ended" if facts["ended"] else "had not ended with the training"
    return f"SWAD is {states}; its valley {end}"
