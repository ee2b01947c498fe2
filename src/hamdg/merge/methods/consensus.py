"""Consensus merging: keep what the sum of all changes owes to several sources (TALL masks)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError
from hamdg.merge.buffers import added
from hamdg.merge.methods.ties import elected, trimming
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range


@global_method("consensus", on="changes", buffers=added)
def consensus(
    model_set: ModelSet,
    *,
    threshold: Annotated[float, Range(0), Grid(0.2, 0.4, 0.6)] = 0.6,
    agree: Annotated[int, Range(0)] = 2,
    scale: Annotated[float, Grid(0.1, 0.3, 0.5, 1.0), FactorOfSum()] = 0.3,
    total: Literal["sum", "ties"] = "sum",
    ties_density: Annotated[float, Range(0, 1)] = 0.2,
) -> Rule:
    """Add the sources' changes and keep the entries of the sum that matter to several sources.

    Source i has a use for an entry where |tau_i| > threshold |tau - tau_i|, with tau = sum_i tau_i;
    theta = theta_0 + scale m tau, with m = 1 where at least `agree` sources have a use. See Wang et al.,
    https://arxiv.org/abs/2405.07813.

    Published are the masks, made from the unscaled sum; thresholds searched for each task on its validation data
    among .2 to .6; 2 for `agree`; and a factor searched between .1 and 1. The comparison is strict, as in the authors'
    code, so that an entry that a source left alone is of no use to it, even if no source changed it.

    Ours: one threshold for all sources, since a search per source would fit the masks to the very domains that they
    are to generalize from (.6 is FusionBench's); .3 for the factor, as in task arithmetic. Mind that the masks were
    made for tasks that share little: where all N sources make the same change, it is of use to them only if threshold
    < 1 / (N - 1), so sources that agree want a smaller threshold. There are no weights.

    Args:
        threshold: How far the sum may lead away from a source's own change; larger values give sparser masks.
        agree: How many sources must have a use for an entry; 1 drops what no source has a use for, 0 drops nothing.
        scale: Factor of the merged change.
        total: What is masked: the `sum` of the changes, or what `ties` gives in its place, with global trimming and
            without division (the authors' code: its "dis-sum").
        ties_density: Share of entries that TIES keeps, see `ties`; the paper's 20 %.
    """
    if agree > len(model_set.sources):
        raise ConfigError(
            "Expected ",
            Argument("agree", "argument "),
            f" to be at most the number of sources, {len(model_set.sources)}, but got `{agree}`; with it nothing would "
            "be left of any change.",
        )
    if total == "sum" and ties_density != 0.2:
        raise ConfigError("Option `ties_density` belongs to TIES; set `total` to `ties`, or leave it out.")
    trim = trimming(model_set, ties_density, "global") if total == "ties" else None

    def rule(tensor_set: TensorSet) -> Tensor:
        if trim is None:
            return tensor_set.by_pieces(lambda piece: _agreed(piece, _sum(piece), threshold, agree).mul_(scale))
        merged = trim(tensor_set, lambda piece: elected(piece, combine="sum")).view(-1)

        def piecewise(piece: TensorSet) -> Tensor:
            start = piece.start - tensor_set.start
            own = merged[start : start + piece.like.numel()]
            return _agreed(piece, own, threshold, agree).mul_(scale)

        return tensor_set.by_pieces(piecewise)

    return rule


def tall_mask(change: Tensor, total: Tensor, threshold: float) -> Tensor:
    """Mark the entries of a merged change that a source has a use for.

    Args:
        change: The source's own change.
        total: The merged change.
        threshold: See `consensus`.
    """
    return change.abs() > (total - change).abs_().mul_(threshold)


def _agreed(piece: TensorSet, total: Tensor, threshold: float, agree: int) -> Tensor:
    users = torch.zeros_like(total)
    for change in piece.tensors.values():
        users += tall_mask(change, total, threshold)
    return total * (users >= agree)


def _sum(piece: TensorSet) -> Tensor:
    total = torch.zeros_like(piece.like)
    for change in piece.tensors.values():
        total += change
    return total
