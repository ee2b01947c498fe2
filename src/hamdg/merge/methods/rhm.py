"""RHM, redundancy-aware historical merge: trim what each history changed, then fuse (our reconstruction)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.functional.cutoff import Cutoff, Score, family_cutoffs, portion, site_cutoffs
from hamdg.merge.functional.means import mean, square
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.options import Range
from hamdg.merge.registry import global_method

Tensors = Mapping[str, Tensor]
Criterion = Literal["magnitude", "relative", "agreement"]
Scope = Literal["tensor", "global"]
Combine = Literal["mean", "disjoint"]


@global_method("rhm", on="changes")
def rhm(
    family: ModelSet,
    *,
    keep: Annotated[float, Range(0, 1)] = 0.5,
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
    trimmed = Trimming(family, keep, scope, criterion)

    def combined(site: TensorSet) -> Tensor:
        total = torch.zeros_like(site.like)
        voices = torch.zeros_like(total)
        for source, mask in trimmed.masks(site).items():
            total += site.tensors[source] * mask
            voices += mask
        return total / (voices.clamp(min=1) if combine == "disjoint" else len(site.tensors))

    if norm == "none":
        return combined
    pairs = family.map(lambda site: (square(mean(site)), square(combined(site)))).values()
    wanted, length = (math.sqrt(math.fsum(squares)) for squares in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return lambda site: combined(site) * (wanted / length if length > 0 else 1.0)


class Trimming:
    """Which entries of every source's change are kept.

    Args:
        family: The changes; tensors that no source moved must not be among them.
        keep: See `rhm`.
        scope: See `rhm`.
        criterion: See `rhm`.
    """

    def __init__(self, family: ModelSet, keep: float, scope: Scope, criterion: Criterion) -> None:
        self._keep = keep
        self._score = _scorer(family, criterion)
        self._everywhere = family_cutoffs(family, self._count, score=self._score) if scope == "global" else None

    def masks(self, site: TensorSet) -> dict[str, Tensor]:
        """Return the entries of a site that every source keeps, as boolean tensors."""
        (cutoffs,) = self._everywhere or site_cutoffs(site, self._count, score=self._score)
        return {source: self._mask(site, source, cutoff) for source, cutoff in cutoffs.items()}

    def _mask(self, site: TensorSet, source: str, cutoff: Cutoff) -> Tensor:
        return cutoff.mask(site, self._score(site, source))

    def _count(self, size: int) -> int:
        return portion(self._keep, size)


def kept_fractions(family: ModelSet, trimming: Trimming, group: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Return the share of entries that each source kept in each group of tensors.

    Args:
        family: The changes.
        trimming: What is kept of them.
        group: Gives the group (for instance the layer) of a tensor name.

    Returns:
        `{source: {group: share}}`; groups without entries are left out.
    """
    counts = family.map(lambda site: {source: int(mask.sum()) for source, mask in trimming.masks(site).items()})
    total: dict[str, int] = {}
    for name in counts:
        total[group(name)] = total.get(group(name), 0) + family.size(name)
    fractions: dict[str, dict[str, float]] = {}
    for source in family.sources:
        kept = dict.fromkeys(total, 0)
        for name, by_source in counts.items():
            kept[group(name)] += by_source[source]
        fractions[source] = {key: kept[key] / total[key] for key in total if total[key]}
    return fractions


def _scorer(family: ModelSet, criterion: Criterion) -> Score:
    """Return how much each entry is worth keeping; only the order matters."""
    # Start values near zero must not win by division alone.
    floors = family.map(_floor) if criterion == "relative" else {}

    def score(site: TensorSet, source: str) -> Tensor:
        change = site.tensors[source]
        size = change.abs()
        if criterion == "relative" and site.base is not None:
            return size / (site.base.abs() + floors[site.name])
        if criterion == "agreement":
            sign = change.sign()
            agreeing = torch.zeros_like(size)
            for other in site.tensors.values():
                agreeing += other.sign() == sign
            return size * agreeing / len(site.tensors)
        return size

    return score


def _floor(site: TensorSet) -> Tensor:
    start = site.base if site.base is not None else torch.zeros_like(site.like)
    return start.abs().mean() if bool(start.any()) else start.new_ones(())
