"""RHM, redundancy-aware historical merge: trim what each history changed, then fuse (our reconstruction)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hamdg.config import Criterion, KeepScope, MergeCombine, MergeNorm
from hamdg.errors import ConfigError
from hamdg.merge.geometry import norm as length
from hamdg.merge.geometry import with_norm
from hamdg.merge.registry import register
from hamdg.merge.topk import largest
from hamdg.merge.uniform import mean_vector

Tensors = Mapping[str, Tensor]
Masks = Mapping[str, Mapping[str, Tensor]]


@register("rhm", needs_base=True)
def rhm(
    task_vectors: Mapping[str, Tensors],
    base: Tensors,
    *,
    keep: float = 0.5,
    scope: KeepScope = "tensor",
    criterion: Criterion = "magnitude",
    combine: MergeCombine = "mean",
    norm: MergeNorm = "none",
) -> dict[str, Tensor]:
    """Trim each source's historical task vector to its least redundant coordinates and average what is left.

    The published description of HAM (https://arxiv.org/abs/2506.09446) states that histories are merged and redundancy
    is removed, not how; these formulas are ours.

    Args:
        task_vectors: What every source's history changed, tau_i = theta_i - theta_0.
        base: The common start theta_0.
        keep: Share of each task vector's coordinates that is kept; exactly `round(keep * n)` of n.
        scope: Whether the share is taken of each tensor or of the whole model.
        criterion: What makes a coordinate worth keeping, see `scores`.
        combine: `mean` divides by the number of sources, `disjoint` by the number of those that kept the coordinate.
        norm: `match_mean` rescales the result to the norm of the mean of the untrimmed task vectors.

    Returns:
        The merged task vector.

    Raises:
        ConfigError: `keep` is outside 0 to 1.
    """
    masks = rhm_masks(task_vectors, base, keep=keep, scope=scope, criterion=criterion)
    merged = {name: _combined(name, task_vectors, masks, combine) for name in _names(task_vectors)}
    return with_norm(merged, length(mean_vector(task_vectors))) if norm == "match_mean" else merged


def rhm_masks(
    task_vectors: Mapping[str, Tensors],
    base: Tensors,
    *,
    keep: float = 0.5,
    scope: KeepScope = "tensor",
    criterion: Criterion = "magnitude",
) -> dict[str, dict[str, Tensor]]:
    """Return which coordinates each source keeps, as boolean tensors by source and tensor name.

    Tensors that no source moved have no mask: frozen coordinates do not count towards the share. Tensors are taken in
    alphabetical order, so that ties over the whole model are broken the same way however the mapping is ordered. See
    `rhm` for the arguments.
    """
    if not 0 <= keep <= 1:
        raise ConfigError(f"Expected argument `keep` to be between 0 and 1, but got `{keep}`.")
    names = [name for name in _names(task_vectors) if any(bool(v[name].any()) for v in task_vectors.values())]
    masks: dict[str, dict[str, Tensor]] = {}
    for source in sorted(task_vectors):
        if scope == "global":
            ranked = {name: scores(source, name, task_vectors, base, criterion) for name in names}
            masks[source] = largest(ranked, round(keep * sum(score.numel() for score in ranked.values())))
            continue
        masks[source] = {}
        for name in names:
            score = scores(source, name, task_vectors, base, criterion)
            masks[source] |= largest({name: score}, round(keep * score.numel()))
    return masks


def scores(source: str, name: str, task_vectors: Mapping[str, Tensors], base: Tensors, criterion: Criterion) -> Tensor:
    """Return how much each coordinate of one source's tensor is worth keeping; only the order matters.

    - `magnitude`: |tau|.
    - `relative`: |tau| / (|theta_0| + m) with m the mean of |theta_0| over the tensor (1 if that is zero), so that
      start values near zero do not win by division alone.
    - `agreement`: |tau| times the share of sources (itself included) that moved the coordinate the same way.
    """
    vector = task_vectors[source][name]
    size = vector.abs()
    if criterion == "relative":
        start = base[name].to(vector.dtype).abs()
        floor = start.mean() if bool(start.any()) else start.new_ones(())
        return size / (start + floor)
    if criterion == "agreement":
        sign = vector.sign()
        agreeing = torch.zeros_like(size)
        for other in task_vectors.values():
            agreeing += other[name].sign() == sign
        return size * agreeing / len(task_vectors)
    return size


def kept_fractions(masks: Masks, group: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Return the share of coordinates that each source kept in each group of tensors.

    Args:
        masks: What `rhm_masks` returned.
        group: Gives the group (for instance the layer) of a tensor name.

    Returns:
        `{source: {group: share}}`; groups without coordinates are left out.
    """
    fractions: dict[str, dict[str, float]] = {}
    for source, tensors in masks.items():
        kept: dict[str, int] = {}
        total: dict[str, int] = {}
        for name, mask in tensors.items():
            key = group(name)
            kept[key] = kept.get(key, 0) + int(mask.sum())
            total[key] = total.get(key, 0) + mask.numel()
        fractions[source] = {key: kept[key] / total[key] for key in total if total[key]}
    return fractions


def _names(task_vectors: Mapping[str, Tensors]) -> list[str]:
    return sorted(next(iter(task_vectors.values()), {}))


def _combined(name: str, task_vectors: Mapping[str, Tensors], masks: Masks, combine: MergeCombine) -> Tensor:
    total = torch.zeros_like(next(iter(task_vectors.values()))[name])
    voices = torch.zeros_like(total)
    moved = [source for source in sorted(task_vectors) if name in masks[source]]
    for source in moved:
        total = total + task_vectors[source][name] * masks[source][name]
        voices = voices + masks[source][name]
    return total / (voices.clamp(min=1) if combine == "disjoint" else len(task_vectors))
