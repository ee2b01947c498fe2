"""Breadcrumbs with TIES: drop the largest and the small changes, elect signs, and merge the entries that agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from hamdg.merge.buffers import BufferShares, added, averaged
from hamdg.merge.methods.breadcrumbs import Scope, trimming
from hamdg.merge.methods.ties import Combine, Sign, elected
from hamdg.merge.model_set import ModelSet, Rule
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range


def _shares(weights: Mapping[str, float], *, scale: float, combine: Combine) -> BufferShares:
    """Mix statistics as `breadcrumbs` does, or with `combine` `mean` as `ties` does."""
    return (averaged if combine == "mean" else added)(weights, scale=scale)


@global_method("breadcrumbs_ties", on="changes", weights="factors", buffers=_shares)
def breadcrumbs_ties(
    model_set: ModelSet,
    *,
    beta: Annotated[float, Range(0, 1), Grid(0.5, 0.7, 0.85)] = 0.85,
    gamma: Annotated[float, Range(0, 1)] = 0.993,
    scale: Annotated[float, Grid(0.3, 0.5, 1.0, 1.5), FactorOfSum("combine", "sum")] = 1.0,
    scope: Scope = "tensor",
    sign: Sign = "mass",
    combine: Combine = "sum",
) -> Rule:
    """Drop outliers and small entries of every change, elect signs, and merge the entries that agree.

    With m_i as in `breadcrumbs` and t_i = m_i tau_i, and s = sign(sum_i w_i t_i): theta = theta_0 + scale sum_i w_i
    t_i over the sources with sign(w_i t_i) = s.

    No paper has it; it is mergekit's `breadcrumbs_ties` (https://github.com/arcee-ai/mergekit), whose defaults drop
    nothing: its `gamma` is 1 - `gamma`, its `density` `gamma` - `beta`. Taken from there are the sum of what agrees and
    the factor 1. Ours are the defaults of `beta` and `gamma`, those of `breadcrumbs`, and how many entries they are;
    an entry whose election is tied stays at the base, where mergekit elects plus.

    Args:
        beta: Share of entries, from the smallest, that are dropped.
        gamma: Share of entries up to which they are not outliers; 1 drops none. Must be larger than `beta`.
        scale: Factor of the merged change.
        scope: What the shares are taken of, see `breadcrumbs`; mergekit knows tensors only.
        sign: How signs are elected, see `ties`.
        combine: How what agrees is combined, see `ties`.
    """
    trim = trimming(model_set, beta, gamma, scope)
    return lambda tensor_set: trim(tensor_set, lambda piece: elected(piece, sign, combine).mul_(scale))
