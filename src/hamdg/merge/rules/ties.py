"""TIES: trim small changes, elect a sign for every entry, and average those that agree with it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.cutoff import Cutoff, TieRule, family_cutoffs, site_cutoffs
from hamdg.merge.family import Family, Rule, Site
from hamdg.merge.options import Range
from hamdg.merge.registry import register_whole
from hamdg.merge.rows import row_trimmed

Combine = Literal["mean", "sum"]
Sign = Literal["mass", "count"]


@register_whole("ties", on="changes", weights="factors")
def ties(
    family: Family,
    *,
    density: Annotated[float, Range(0, 1)] = 0.2,
    scope: Literal["tensor", "global", "row"] = "global",
    scale: float = 1.0,
    sign: Sign = "mass",
    combine: Combine = "mean",
    tie_rule: TieRule = "exact",
    vote: Literal["weighted", "plain"] = "weighted",
) -> Rule:
    """Trim every change to its largest entries, elect signs, and merge the entries that agree.

    See Yadav et al., https://arxiv.org/abs/2306.01708. An entry whose election is tied (sum of zero) stays at the base.

    Args:
        density: Share of entries that each source keeps: `round(density * n)` of n.
        scope: What the share is taken of: each tensor, the whole model (the paper), or each row (first axis).
        scale: Factor of the merged change.
        sign: Whether the larger sum (`mass`, the paper) or the larger number (`count`) of trimmed changes elects.
        combine: `mean` divides by the weights of those that agree (their number without weights), `sum` does not.
        tie_rule: Whether exactly that many entries are kept, the first of equal ones winning (`exact`), or all that are
            as large as the last of them (`threshold`).
        vote: Whether the sources' weights count in the election.
    """

    def count(size: int) -> int:
        return round(density * size)

    everywhere = family_cutoffs(family, count, ties=tie_rule) if scope == "global" else None

    def rule(site: Site) -> Tensor:
        if scope == "row":
            trimmed = Site(site.name, row_trimmed(site, count, tie_rule), site.base, site.weights)
            return elected(trimmed, sign, combine, vote == "weighted").mul_(scale)
        cutoffs = everywhere or site_cutoffs(site, count, ties=tie_rule)

        def piecewise(piece: Site) -> Tensor:
            trimmed = Site(site.name, kept(piece, cutoffs), piece.base, piece.weights, piece.start)
            return elected(trimmed, sign, combine, vote == "weighted").mul_(scale)

        return site.by_pieces(piecewise)

    return rule


def kept(site: Site, cutoffs: dict[str, Cutoff]) -> dict[str, Tensor]:
    """Return every source's change with all but its largest entries set to zero."""
    return {source: cutoffs[source].kept(site, change) for source, change in site.tensors.items()}


def elected(site: Site, sign: Sign = "mass", combine: Combine = "mean", weighted_vote: bool = True) -> Tensor:
    """Elect a sign for every entry and merge the changes that agree with it; zeros do not take part.

    Args:
        site: The trimmed changes.
        sign: See `ties`.
        combine: See `ties`.
        weighted_vote: Whether the sources' weights count in the election.
    """
    values = {source: _weighted(change, site.weight(source)) for source, change in site.tensors.items()}
    votes = site.like.new_zeros(site.like.shape)
    for source, value in values.items():
        ballot = value if weighted_vote else site.tensors[source] * math.copysign(1.0, site.weight(source))
        votes += ballot.sign() * abs(site.weight(source) if weighted_vote else 1.0) if sign == "count" else ballot
    winner = votes.sign_()
    total, voices = torch.zeros_like(winner), torch.zeros_like(winner)
    for source, value in values.items():
        agreeing = (value * winner).clamp_(min=0)
        total += agreeing
        if combine == "mean":
            voices.add_(agreeing.sign_(), alpha=abs(site.weight(source)))
    if combine == "mean":
        total /= voices.masked_fill_(voices == 0, 1.0)
    return total.mul_(winner)


def _weighted(change: Tensor, weight: float) -> Tensor:
    return change if weight == 1 else change * weight
