"""Checkpoints of one training run: their order, and the stretch of them that SWAD averages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from hamdg.errors import ConfigError, unexpected

T = TypeVar("T")
NoStart = Literal["all", "last"]
NoEnd = Literal["keep", "drop"]

_NUMBER = re.compile("([0-9]+)")


@lru_cache(maxsize=64)
def in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of checkpoints in the order of training: numbers in them are compared as numbers.

    `step-2` comes before `step-10`, and `epoch-1-step-90` before `epoch-2-step-10`. Only whole numbers are understood:
    `0.25` reads as 0, then 25.

    Args:
        names: The names, in any order.

    Raises:
        ConfigError: Some names hold numbers and some do not (`last` beside `step-10`), which says no order.
    """
    plain = sorted(name for name in names if not _NUMBER.search(name))
    if plain and len(plain) < len(names):
        other = min(set(names) - set(plain))
        raise ConfigError(
            f"The checkpoints of a trajectory are taken in the order of the numbers in their names, but `{plain[0]}` "
            f"has none while `{other}` has; name all of them by their step."
        )
    return tuple(sorted(names, key=_natural))


class Valley(Generic[T]):
    """The stretch of a trajectory between SWAD's start and end, found while the validation losses come in.

    The rule, by https://arxiv.org/abs/2102.08604: with losses E_0, E_1, ... the start t_s is the first segment whose
    loss is the minimum of itself and the next n_s - 1; the threshold is l = r mean(E_{t_s}, ..., E_{t_s + n_s - 1});
    the first n_e losses in a row above l, the last of which comes after those n_s, end it: t_e is the segment before
    them. Every segment is in one place at a time, so that none can be counted twice.

    Args:
        n_s: How many losses decide about the start.
        n_e: How many losses above the threshold end the valley.
        r: The threshold in terms of the mean loss at the start.
        no_start: What counts if no start is found: `all` segments, or the `last` one.
        no_end: Whether segments above the threshold at the very end, too few to be an end, count (`keep`) or not
            (`drop`).
        join: Puts a segment after another one; it may change the first and give it back.

    Raises:
        ConfigError: An argument is out of its range.
    """

    def __init__(
        self, n_s: int, n_e: int, r: float, no_start: NoStart, no_end: NoEnd, join: Callable[[T, T], T]
    ) -> None:
        for name, value in {"n_s": n_s, "n_e": n_e, "r": r}.items():
            if not (math.isfinite(value) and value >= 1):
                raise unexpected(name, "at least 1", value)
        self.n_s, self.n_e, self.r, self.no_start, self.no_end = n_s, n_e, r, no_start, no_end
        self._join = join
        # Before the start is found: what came too early to be it, and the segments that may be it.
        self.early: T | None = None
        self.recent: list[tuple[T, float]] = []
        # Afterwards: what is in for sure, and the segments since then, all of them above the threshold.
        self.threshold: float | None = None
        self.inside: T | None = None
        self.above: T | None = None
        self.run = 0
        self.ended = False

    def add(self, segment: T, loss: float) -> None:
        """Take in the next segment and the validation loss at its end.

        Raises:
            ConfigError: The loss is not a finite number.
        """
        if not math.isfinite(loss):
            raise ConfigError(f"Expected a validation loss to be a finite number, but got `{loss}`.")
        if self.ended:
            return
        if self.threshold is not None:
            self._go_on(segment, loss > self.threshold)
            return
        self.recent.append((segment, loss))
        if len(self.recent) == self.n_s:
            losses = [loss for _, loss in self.recent]
            if losses[0] == min(losses):
                self._start(self.r * math.fsum(losses) / self.n_s)
                return
            segment, _ = self.recent.pop(0)
            if self.no_start == "all":
                self.early = self._joined(self.early, [segment])

    def chosen(self) -> list[T]:
        """Return the parts that count, in their order: their mean is SWAD's."""
        if self.threshold is None:
            recent = [segment for segment, _ in self.recent]
            parts = [self.early, *recent] if self.no_start == "all" else [*recent[-1:]]
        else:
            parts = [self.inside, self.above] if self.no_end == "keep" else [self.inside]
        return [part for part in parts if part is not None]

    def _start(self, threshold: float) -> None:
        self.threshold = threshold
        (self.inside, _), *later = self.recent
        self.early, self.recent = None, []
        # What one more loss could still cut off; earlier segments are in, whatever their loss.
        while self.run < min(len(later), self.n_e - 1) and later[-1 - self.run][1] > threshold:
            self.run += 1
        cut = len(later) - self.run
        self.inside = self._joined(self.inside, [segment for segment, _ in later[:cut]])
        self.above = self._joined(None, [segment for segment, _ in later[cut:]])

    def _go_on(self, segment: T, is_above: bool) -> None:
        if not is_above:
            between = [] if self.above is None else [self.above]
            self.inside = self._joined(self.inside, [*between, segment])
            self.above, self.run = None, 0
            return
        self.run += 1
        self.ended = self.run == self.n_e
        self.above = None if self.ended else self._joined(self.above, [segment])

    def _joined(self, first: T | None, others: Iterable[T]) -> T | None:
        for other in others:
            first = other if first is None else self._join(first, other)
        return first


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = _NUMBER.split(name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], name
