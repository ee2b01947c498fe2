"""Where SWAD's average of one source model begins and ends, found from the validation losses that chose it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import add
from typing import TypedDict

from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.merge.functional.trajectory import Valley


class ValleyFacts(TypedDict):
    """What one source's average is the mean of.

    `found`: a valley began; without one, all states count, or, after too few losses to find one, the last. `ended`: it
    ended before the training did. `first_step` and `last_step`: of the first and the last state in the average.
    `states`: how many there are. `threshold`: the loss that would have ended it; `None` if none began.
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
    chosen = sum(valley.chosen(), ()) if has_enough(config, len(losses)) else tuple(steps[-1:])
    return ValleyFacts(
        found=valley.threshold is not None,
        ended=valley.ended,
        first_step=chosen[0],
        last_step=chosen[-1],
        states=len(chosen),
        threshold=valley.threshold,
    )


def has_enough(config: HistoryConfig, losses: int) -> bool:
    """Return whether there are as many losses as decide where a valley begins; otherwise the last model is kept."""
    return losses >= config.n_s


def too_short(config: HistoryConfig, train: TrainConfig) -> str:
    """Return in a sentence that a training is too short for SWAD to find a valley; nothing where it is not."""
    losses = math.ceil(train.steps / train.check_every)
    if config.kind != "swad" or has_enough(config, losses):
        return ""
    return (
        f"SWAD needs {config.n_s} validations (`history.n_s`) to find a valley, but `train.steps` ({train.steps}) with "
        f"`train.check_every` ({train.check_every}) give {losses}: the last model is kept. Lower `train.check_every` "
        "or train longer."
    )


def describe_valley(facts: ValleyFacts) -> str:
    """Return the facts as a sentence without its full stop."""
    states = f"the mean of {facts['states']} states, of steps {facts['first_step']} to {facts['last_step']}"
    if not facts["found"] and facts["states"] == 1:
        return f"too few validations to find a valley, so SWAD is the last model, of step {facts['last_step']}"
    if not facts["found"]:
        return f"no valley of the validation loss began, so SWAD is {states}: all there are"
    end = "ended" if facts["ended"] else "had not ended with the training"
    return f"SWAD is {states}; its valley {end}"
