"""Karcher mean: average the directions of the models on the sphere, and their lengths apart."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.functional.mixtures import Space, inverse, lengths_and_cosines, mixing, shares
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


@global_method("karcher", on="models", weights="shares")
def karcher(
    model_set: ModelSet,
    *,
    scope: Literal["tensor", "global"] = "tensor",
    space: Space = "weights",
    tolerance: Annotated[float, Range(0, above=True)] = 1e-5,
    max_iterations: Annotated[int, Range(0)] = 10,
) -> MergePlan:
    """Average the models' directions on the sphere and multiply by their mean length.

    With u_i = theta_i / |theta_i| and shares w_i, theta = (sum_i w_i |theta_i|) m, where m is the unit vector with the
    least sum_i w_i angle(m, u_i)^2 (H. Karcher, https://doi.org/10.1002/cpa.3160300502). m starts as the direction of
    sum_i w_i u_i; every iteration goes along the mean of the logarithms at m, which is sum_i w_i Omega_i / sin Omega_i
    (u_i - cos Omega_i m) with the angle Omega_i between m and u_i, until that is shorter than the tolerance.

    The definition for models is mergekit's (https://github.com/arcee-ai/mergekit), with its defaults. A model whose
    tensor is all zero counts in the mean length, not in the direction. Ours are weights (mergekit has equal ones), the
    choice of `scope` and `space`, and what happens where directions cancel out, as two opposite ones do (sum_i w_i u_i
    shorter than the tolerance): there is no one mean direction then, and the weighted average is taken (mergekit takes
    the first model's direction). A direction exactly opposite to m pulls nowhere. All of it needs the angles between
    models only, so iterations cost nothing. Tensors in which no model differs are passed on and count in no angle.

    Args:
        scope: Whether directions are those of each tensor (mergekit) or of the whole models.
        space: Whether to average the weights (mergekit) or the changes from a base.
        tolerance: Length of a step, in radians, below which iterations end (mergekit's 1e-5).
        max_iterations: How many steps at most (mergekit's 10).
    """
    weights = shares(model_set, "karcher")

    def factors(gram: Tensor) -> Tensor:
        lengths, _ = lengths_and_cosines(gram)
        mean, found = mean_direction(gram, weights, tolerance, max_iterations)
        scaled = mean * inverse(lengths) * (weights * lengths).sum(-1, keepdim=True)
        return torch.where(found[..., None], scaled, weights)

    return mixing(model_set, factors, scope=scope, space=space)


def mean_direction(gram: Tensor, weights: Tensor, tolerance: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Find the mean of the sources' directions on the unit sphere, which is a mixture of them; see `karcher`.

    Args:
        gram: Inner products of the sources, `(..., N, N)`.
        weights: Weight of every source, `(N,)`; those of no length are left out.
        tolerance: See `karcher`.
        iterations: How many steps at most.

    Returns:
        The factors of the directions, `(..., N)`, and whether there is a mean direction, `(...)`; without one the
        factors are the weights.
    """
    lengths, cosines = lengths_and_cosines(gram)
    shares = weights * (lengths > 0)
    shares = shares * inverse(shares.sum(-1, keepdim=True))

    def length(factors: Tensor) -> Tensor:
        return (factors * _times(cosines, factors)).sum(-1, keepdim=True).clamp(min=0).sqrt()

    balanced = length(shares) < tolerance
    mean = shares / length(shares).masked_fill(balanced, 1.0)
    for _ in range(iterations):
        dots = _times(cosines, mean).clamp(-1, 1)
        angles = dots.acos()
        sines = angles.sin()
        # The logarithm of m is zero, and its opposite has none; nearby the quotient is 1, or too large to compute with.
        pull = shares * torch.where(sines > 1e-4, angles / sines.clamp(min=1e-4), angles.new_ones(()))
        tangent = pull - mean * (pull * dots).sum(-1, keepdim=True)
        size = length(tangent)
        done = (size < tolerance) | balanced
        if bool(done.all()):
            break
        moved = size.cos() * mean + size.sin() / size.masked_fill(done, 1.0) * tangent
        mean = torch.where(done, mean, moved / length(moved).masked_fill(done, 1.0))
    return mean, ~balanced.squeeze(-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)
