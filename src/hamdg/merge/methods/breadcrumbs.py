"""Model Breadcrumbs: drop the largest and the small changes, and add what lies between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from torch import Tensor

from hamdg.errors import unexpected
from hamdg.merge.buffers import added
from hamdg.merge.functional.cutoff import model_cutoffs, tensor_cutoffs
from hamdg.merge.functional.rows import by_rows, largest
from hamdg.merge.methods.task_arithmetic import task_arithmetic
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range

Scope = Literal["tensor", "global", "row"]


@global_method("breadcrumbs", on="changes", weights="factors", buffers=added)
def breadcrumbs(
    model_set: ModelSet,
    *,
    beta: Annotated[float, Range(0, 1), Grid(0.5, 0.7, 0.85)] = 0.85,
    gamma: Annotated[float, Range(0, 1)] = 0.993,
    scale: Annotated[float, Grid(0.1, 0.3, 0.5, 1.0), FactorOfSum()] = 0.3,
    scope: Scope = "tensor",
) -> Rule:
    """Drop outliers and small entries of every change, and add the others.

    theta = theta_0 + scale sum_i w_i m_i tau_i, where m_i is 1 for the entries whose magnitude lies above the beta
    quantile and not above the gamma quantile of its layer. See Davari and Belilovsky,
    https://arxiv.org/abs/2312.06795.

    The paper states masks of both tails, per layer; its values beta .85, gamma .993 and scale .3 are our defaults,
    quoted from memory. The authors' code works on each row and begins its search at .15 kept, .006 removed, scale .2;
    mergekit's defaults drop nothing. Ours: of n entries exactly `round(beta * n)` of the smallest and `n -
    round(gamma * n)` of the largest go, the first of equal ones counting as larger. In a small tensor rounding may
    leave all outliers in (up to 71 entries at gamma = .993). It never takes everything out: one entry stays, the
    smallest of those that are not too small, so that a tensor of one entry takes part.

    Args:
        beta: Share of entries, from the smallest, that are dropped.
        gamma: Share of entries up to which they are not outliers; 1 drops none. Must be larger than `beta`.
        scale: Factor of the sum.
        scope: What the shares are taken of: each tensor (the paper), the whole model, or each row (first axis) of a
            tensor (the authors' code, where matrices are concerned).
    """
    trim = trimming(model_set, beta, gamma, scope)
    return lambda tensor_set: trim(tensor_set, lambda piece: task_arithmetic(piece, scale=scale))


def trimming(model_set: ModelSet, beta: float, gamma: float, scope: Scope) -> Callable[[TensorSet, Rule], Tensor]:
    """Return what applies an elementwise rule, piece by piece, to changes without their smallest and largest entries.

    Args:
        model_set: The changes.
        beta: See `breadcrumbs`.
        gamma: See `breadcrumbs`.
        scope: See `breadcrumbs`.

    Raises:
        ConfigError: Nothing would be left.
    """
    if beta >= gamma:
        raise unexpected("beta", "below `gamma`, or nothing is left", f"{beta}` and `{gamma}")

    def larger(size: int) -> int:
        return size - min(round(beta * size), size - 1)

    def outliers(size: int) -> int:
        return min(size - round(gamma * size), larger(size) - 1)

    def by_row(tensor_set: TensorSet, rule: Rule) -> Tensor:
        def rowwise(piece: TensorSet, length: int) -> Tensor:
            kept = {}
            for source, change in piece.tensors.items():
                size = change.abs().view(-1, length)
                mask = largest(size, larger(length)) & ~largest(size, outliers(length))
                kept[source] = change * mask.view(-1)
            return rule(replace(piece, tensors=kept))

        return by_rows(tensor_set, rowwise)

    def by_size(tensor_set: TensorSet, rule: Rule) -> Tensor:
        inner, outer = everywhere or tensor_cutoffs(tensor_set, larger, outliers)

        def piecewise(piece: TensorSet) -> Tensor:
            # Outliers are among the larger entries, so that they cancel to zero exactly.
            kept = {
                s: inner[s].kept(piece, change) - outer[s].kept(piece, change) for s, change in piece.tensors.items()
            }
            return rule(replace(piece, tensors=kept))

        return tensor_set.by_pieces(piecewise)

    everywhere = model_cutoffs(model_set, larger, outliers) if scope == "global" else None
    return by_row if scope == "row" else by_size
