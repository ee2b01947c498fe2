"""RHM, redundancy-aware historical merge: trim what each history changed, then fuse (our reconstruction)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.functional.cutoff import Cutoff, model_cutoffs, portion, tensor_cutoffs
from hamdg.merge.functional.mixtures import mean, square
from hamdg.merge.functional.selection import Score
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Grid, Range

Criterion = Literal["magnitude", "relative", "agreement"]
Scope = Literal["tensor", "global"]
Combine = Literal["mean", "disjoint"]


@global_method("rhm", on="changes")
def rhm(
    model_set: ModelSet,
    *,
    keep: Annotated[float, Range(0, 1), Grid(0.1, 0.3, 0.5, 0.7, 0.9)] = 0.5,
    scope: Scope = "tensor",
    criterion: Criterion = "magnitude",
    combine: Combine = "mean",
    norm: Literal["none", "match_mean"] = "none",
) -> Rule:
    """Trim each source's historical change to its least redundant entries and average what is left.

    The published description of HAM (https://arxiv.org/abs/2506.09446) states that histories are merged and redundancy
    is removed, not how; these formulas are ours.

    Args:
        keep: Share of each change's entries that is kept; exactly `round(keep * n)` of n, at least one unless it is 0.
        scope: Whether the share is taken of each tensor or of the whole model.
        criterion: What makes an entry worth keeping: its size (`magnitude`), its size relative to the start's
            (`relative`), or its size times the share of sources that moved the same way (`agreement`).
        combine: `mean` divides by the number of sources, `disjoint` by the number of those that kept the entry.
        norm: `match_mean` rescales the result to the norm of the mean of the untrimmed changes.
    """
    trimmed = Trimming(model_set, keep, scope, criterion)

    def combined(tensor_set: TensorSet) -> Tensor:
        total = torch.zeros_like(tensor_set.like)
        voters = torch.zeros_like(total)
        for source, mask in trimmed.masks(tensor_set).items():
            total += tensor_set.tensors[source] * mask
            voters += mask
        return total / (voters.clamp(min=1) if combine == "disjoint" else len(tensor_set.tensors))

    if norm == "none":
        return combined
    pairs = model_set.map(lambda tensor_set: (square(mean(tensor_set)), square(combined(tensor_set)))).values()
    wanted, length = (math.sqrt(math.fsum(squares)) for squares in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return lambda tensor_set: combined(tensor_set) * (wanted / length if length > 0 else 1.0)


class Trimming:
    """Which entries of every source's change are kept.

    Args:
        model_set: The changes; tensors that no source moved must not be among them.
        keep: See `rhm`.
        scope: See `rhm`.
        criterion: See `rhm`.
    """

    def __init__(self, model_set: ModelSet, keep: float, scope: Scope, criterion: Criterion) -> None:
        self._keep = keep
        self._score = _scorer(model_set, criterion)
        self._everywhere = model_cutoffs(model_set, self._count, score=self._score) if scope == "global" else None

    def masks(self, tensor_set: TensorSet) -> dict[str, Tensor]:
        """Return the entries of a tensor set that every source keeps, as boolean tensors."""
        (cutoffs,) = self._everywhere or tensor_cutoffs(tensor_set, self._count, score=self._score)
        return {source: self._mask(tensor_set, source, cutoff) for source, cutoff in cutoffs.items()}

    def _mask(self, tensor_set: TensorSet, source: str, cutoff: Cutoff) -> Tensor:
        return cutoff.mask(tensor_set, self._score(tensor_set, source))

    def _count(self, size: int) -> int:
        return portion(self._keep, size)


def kept_fractions(model_set: ModelSet, trimming: Trimming, group: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Return the share of entries that each source kept in each group of tensors.

    Args:
        model_set: The changes.
        trimming: What is kept of them.
        group: Gives the group (for instance the layer) of a tensor name.

    Returns:
        `{source: {group: share}}`; groups without entries are left out.
    """
    counts = model_set.map(
        lambda tensor_set: {source: int(mask.sum()) for source, mask in trimming.masks(tensor_set).items()}
    )
    total: dict[str, int] = {}
    for name in counts:
        total[group(name)] = total.get(group(name), 0) + model_set.size(name)
    fractions: dict[str, dict[str, float]] = {}
    for source in model_set.sources:
        kept = dict.fromkeys(total, 0)
        for name, by_source in counts.items():
            kept[group(name)] += by_source[source]
        fractions[source] = {key: kept[key] / total[key] for key in total if total[key]}
    return fractions


def _scorer(model_set: ModelSet, criterion: Criterion) -> Score:
    """Return how much each entry is worth keeping; only the order matters."""
    # Start values near zero must not win by division alone.
    floors = model_set.map(_floor) if criterion == "relative" else {}

    def score(tensor_set: TensorSet, source: str) -> Tensor:
        change = tensor_set.tensors[source]
        size = change.abs()
        if criterion == "relative" and tensor_set.base is not None:
            return size / (tensor_set.base.abs() + floors[tensor_set.name])
        if criterion == "agreement":
            sign = change.sign()
            agreeing = torch.zeros_like(size)
            for other in tensor_set.tensors.values():
                agreeing += other.sign() == sign
            return size * agreeing / len(tensor_set.tensors)
        return size

    return score


def _floor(tensor_set: TensorSet) -> Tensor:
    start = tensor_set.base if tensor_set.base is not None else torch.zeros_like(tensor_set.like)
    return start.abs().mean() if bool(start.any()) else start.new_ones(())
