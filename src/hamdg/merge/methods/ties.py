"""TIES: trim small changes, elect a sign for every entry, and average those that agree with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.buffers import BufferShares, added, averaged
from hamdg.merge.functional.cutoff import TieRule, model_cutoffs, portion, tensor_cutoffs
from hamdg.merge.functional.rows import by_rows, largest
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range

Combine = Literal["mean", "sum"]
Scope = Literal["tensor", "global", "row"]
Sign = Literal["mass", "count"]
Value = Callable[[TensorSet, str], Tensor]


def _shares(weights: Mapping[str, float], *, scale: float, combine: Combine) -> BufferShares:
    """Mix `scale` of the sources' statistics (with `combine` `sum`, of each source's) and the rest of the base's."""
    return (averaged if combine == "mean" else added)(weights, scale=scale)


@global_method("ties", on="changes", weights="factors", buffers=_shares)
def ties(
    model_set: ModelSet,
    *,
    density: Annotated[float, Range(0, 1), Grid(0.1, 0.2, 0.4, 0.8)] = 0.2,
    scope: Scope = "global",
    scale: Annotated[float, Grid(0.3, 0.5, 1.0, 1.5), FactorOfSum("combine", "sum")] = 1.0,
    sign: Sign = "mass",
    combine: Combine = "mean",
    tie_rule: TieRule = "exact",
    vote: Literal["weighted", "plain"] = "weighted",
) -> Rule:
    """Trim every change to its largest entries, elect signs, and merge the entries that agree.

    With t_i the change tau_i where |tau_i| is among its largest and 0 elsewhere, and s = sign(sum_i w_i t_i): theta =
    theta_0 + scale sum_i w_i t_i / sum_i |w_i|, both sums over the sources with sign(w_i t_i) = s. See Yadav et al.,
    https://arxiv.org/abs/2306.01708.

    Published are the three steps, the share of the whole model, the mass in the election and the mean over those that
    agree; the factor is searched on validation data (.8 to 2.5), with 1 as the default. Weights are not part of it:
    that they multiply the trimmed changes, count in the election and divide the mean is ours, so that weights of 2
    for everybody change nothing. Ours, too: exactly `round(density * n)` of n entries are kept, and at least one of
    each tensor or row that a share is taken of, so that a tensor of one entry moves (the authors' code keeps one more,
    and fails at 100 %), and an entry whose election is tied stays at the base (their code gives it the sign that most
    of the model has).

    Args:
        density: Share of entries that each source keeps: `round(density * n)` of n, at least one unless it is 0; the
            paper's 20 %.
        scope: What the share is taken of: the whole model (`global`, the paper), each tensor, or each row (first
            axis) of a tensor. Tensors that no source moved count nowhere.
        scale: Factor of the merged change.
        sign: Whether the larger sum (`mass`, the paper) or the larger number (`count`) of trimmed changes elects.
        combine: `mean` divides by the weights of those that agree (their number without weights, the paper), `sum`
            does not.
        tie_rule: Whether exactly that many entries are kept, the first of equal ones winning (`exact`), or all that
            are as large as the last of them (`threshold`).
        vote: Whether the sources' weights count in the election (`weighted`), or only their signs (`plain`); 0 has
            none.
    """
    trim = trimming(model_set, density, scope, tie_rule)
    return lambda tensor_set: trim(
        tensor_set, lambda piece: elected(piece, sign, combine, vote == "weighted").mul_(scale)
    )


def plain(tensor_set: TensorSet, source: str) -> Tensor:
    """Return a source's change as it is."""
    return tensor_set.tensors[source]


def trimming(
    model_set: ModelSet, density: float, scope: Scope, tie_rule: TieRule = "exact", value: Value = plain
) -> Callable[[TensorSet, Rule], Tensor]:
    """Return what applies an elementwise rule, piece by piece, to changes trimmed to their largest entries.

    Args:
        model_set: The changes.
        density: See `ties`.
        scope: See `ties`.
        tie_rule: See `ties`.
        value: Gives the change of a source that is trimmed.
    """

    def count(size: int) -> int:
        return portion(density, size)

    def score(tensor_set: TensorSet, source: str) -> Tensor:
        return value(tensor_set, source).abs()

    def by_row(tensor_set: TensorSet, rule: Rule) -> Tensor:
        def piecewise(piece: TensorSet, length: int) -> Tensor:
            values = {source: value(piece, source) for source in piece.tensors}
            masks = {source: largest(v.abs().view(-1, length), count(length), tie_rule) for source, v in values.items()}
            return rule(replace(piece, tensors={source: v * masks[source].view(-1) for source, v in values.items()}))

        return by_rows(tensor_set, piecewise)

    def by_size(tensor_set: TensorSet, rule: Rule) -> Tensor:
        (cutoffs,) = everywhere or tensor_cutoffs(tensor_set, count, score=score, ties=tie_rule)

        def piecewise(piece: TensorSet) -> Tensor:
            kept = {source: cutoffs[source].kept(piece, value(piece, source)) for source in piece.tensors}
            return rule(replace(piece, tensors=kept))

        return tensor_set.by_pieces(piecewise)

    everywhere = model_cutoffs(model_set, count, score=score, ties=tie_rule) if scope == "global" else None
    return by_row if scope == "row" else by_size


def elected(
    tensor_set: TensorSet, sign: Sign = "mass", combine: Combine = "mean", weighted_vote: bool = True
) -> Tensor:
    """Elect a sign for every entry and merge the changes that agree with it; zeros do not take part.

    Args:
        tensor_set: The trimmed changes.
        sign: See `ties`.
        combine: See `ties`.
        weighted_vote: Whether the sources' weights count in the election.
    """
    values = {source: _weighted(change, tensor_set.weight(source)) for source, change in tensor_set.tensors.items()}
    votes = tensor_set.like.new_zeros(tensor_set.like.shape)
    for source, value in values.items():
        weight = tensor_set.weight(source)
        strength = weight if weighted_vote else float((weight > 0) - (weight < 0))
        ballot = value if weighted_vote else _weighted(tensor_set.tensors[source], strength)
        votes += ballot.sign() * abs(strength) if sign == "count" else ballot
    winner = votes.sign_()
    total, voters = torch.zeros_like(winner), torch.zeros_like(winner)
    for source, value in values.items():
        agreeing = (value * winner).clamp_(min=0)
        total += agreeing
        if combine == "mean":
            voters.add_(agreeing.sign_(), alpha=abs(tensor_set.weight(source)))
    if combine == "mean":
        # Where no source agrees, zero is divided by whatever there is.
        total /= voters.clamp_(min=torch.finfo(voters.dtype).tiny)
    return total.mul_(winner)


def _weighted(change: Tensor, weight: float) -> Tensor:
    return change if weight == 1 else change * weight
