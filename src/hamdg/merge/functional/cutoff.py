"""Exact selection of the largest scores, over one tensor or a whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hamdg.merge.functional.selection import Score, Scores, find_thresholds
from hamdg.merge.model_set import ModelSet, TensorSet

Count = Callable[[int], int]
TieRule = Literal["exact", "threshold"]


@dataclass(frozen=True)
class Cutoff:
    """Which entries of one source are its largest.

    Args:
        threshold: Entries with larger scores are in.
        end: Name and position of the last entry of exactly that score that is in, entries being in the order of tensor
            names and positions; `None` if all of them are.
    """

    threshold: float
    end: tuple[str, int] | None = None

    def mask(self, tensor_set: TensorSet, score: Tensor) -> Tensor:
        """Mark the entries of a tensor set that are in.

        Args:
            tensor_set: The tensor set, or piece, that the scores belong to.
            score: The source's scores there.
        """
        if self.end is None or tensor_set.name < self.end[0]:
            return score >= self.threshold
        mask = score > self.threshold
        if tensor_set.name == self.end[0] and tensor_set.start <= self.end[1]:
            early = self.end[1] + 1 - tensor_set.start
            mask.view(-1)[:early] |= (score.reshape(-1) == self.threshold)[:early]
        return mask

    def kept(self, tensor_set: TensorSet, value: Tensor) -> Tensor:
        """Return the values whose magnitudes are in, and zero elsewhere; faster than `mask` where ties need no care."""
        if self.end is None or tensor_set.name != self.end[0]:
            if self.threshold == 0:
                return value
            strict = self.end is not None and tensor_set.name > self.end[0]
            limit = value.new_full((), self.threshold)
            # `hardshrink` drops what is not larger than its limit, in one pass.
            return torch.hardshrink(value, float(limit if strict else torch.nextafter(limit, limit.new_zeros(()))))
        return value * self.mask(tensor_set, value.abs())


def portion(share: float, size: int) -> int:
    """Return how many of `size` entries a share is: `round(share * size)`, and at least one unless the share is 0.

    Without the one, half of a tensor of one entry would be nothing (Python rounds halves to even).
    """
    return max(1, round(share * size)) if share > 0 and size > 0 else 0


def magnitude(tensor_set: TensorSet, source: str) -> Tensor:
    """Score entries by their size."""
    return tensor_set.tensors[source].abs()


def model_cutoffs(
    model_set: ModelSet, *counts: Count, score: Score = magnitude, ties: TieRule = "exact"
) -> tuple[dict[str, Cutoff], ...]:
    """Return every source's cutoffs over all tensors together, one by source for each count; all in the same passes.

    Args:
        model_set: The models.
        counts: How many entries are in, of how many.
        score: Finite scores, zero or larger, elementwise, each time in a tensor of their own.
        ties: Whether exactly `count` entries are in, the first of equal ones winning (`exact`), or all that are as
            large as the last of them (`threshold`).
    """
    return _cutoffs(Scores(model_set, score), counts, ties)


def tensor_cutoffs(
    tensor_set: TensorSet, *counts: Count, score: Score = magnitude, ties: TieRule = "exact"
) -> tuple[dict[str, Cutoff], ...]:
    """Return every source's cutoffs over one tensor; see `model_cutoffs`."""
    return _cutoffs(Scores(tensor_set, score), counts, ties)


def model_ranked(model_set: ModelSet, *ranks: int, score: Score = magnitude) -> tuple[dict[str, float], ...]:
    """Return every source's scores of some ranks over all tensors, one by source for each rank; all in the same passes.

    Args:
        model_set: The models.
        ranks: 1 for the largest score, the number of entries for the smallest.
        score: See `model_cutoffs`.
    """
    found = find_thresholds(Scores(model_set, score), ranks, exact=False)
    return tuple({source: found[source, rank].score for source in model_set.sources} for rank in ranks)


def _cutoffs(scores: Scores, counts: tuple[Count, ...], ties: TieRule) -> tuple[dict[str, Cutoff], ...]:
    wanted = [count(scores.total) for count in counts]
    found = find_thresholds(scores, tuple(n for n in wanted if 0 < n < scores.total), exact=ties == "exact")

    def cutoff(source: str, number: int) -> Cutoff:
        if number <= 0:
            return Cutoff(float("inf"))
        return Cutoff(*found[source, number]) if number < scores.total else Cutoff(0.0)

    return tuple({source: cutoff(source, number) for source in scores.sources} for number in wanted)
