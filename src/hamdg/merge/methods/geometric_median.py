"""Geometric median: the point with the least sum of distances to the models, which outliers hardly move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.buffers import BufferShares, by_weight
from hamdg.merge.functional.mixtures import mixing, shares
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


def _shares(weights: Mapping[str, float]) -> BufferShares:
    """Mix the sources' statistics by their weights; with `scope` `global`, by their shares in the median."""
    return by_weight(weights)


@global_method("geometric_median", on="models", weights="shares", buffers=_shares)
def geometric_median(
    model_set: ModelSet,
    *,
    scope: Literal["tensor", "global"] = "global",
    eps: Annotated[float, Range(0, 0.1, above=True)] = 1e-6,
    max_iterations: Annotated[int, Range(0)] = 100,
    tolerance: Annotated[float, Range(0)] = 1e-20,
) -> MergePlan:
    """Take the point with the least weighted sum of distances to the models.

    theta = argmin_x sum_i w_i |x - theta_i|, found by Weiszfeld's iterations from the weighted mean: x becomes the mean
    of the models with weights w_i / |x - theta_i|. Robust aggregation by it is from Pillutla et al.,
    https://arxiv.org/abs/1912.13445, who take the whole model as one vector; eps, the number of iterations and the
    tolerance are those of their released code, which keeps distances above an absolute eps.

    Ours: eps is relative to the mean distance of the models to their mean, so that scaling all models scales the
    result. A model nearer than that counts as met, where the plain iteration would divide by zero. Vardi and Zhang's
    step then decides (https://doi.org/10.1073/pnas.97.4.1423): if the others together pull with no more than the weight
    of that model, it is the median and is returned; if not, x goes on. The iterations need the distances between models
    only, so more of them are free. Of two models with equal weights every point between is a median: the mean is
    returned; with unequal weights it is the heavier model.

    Args:
        scope: Whether distances are those of the whole models (the paper) or of each tensor.
        eps: Distance, as a share of the mean one, below which a model counts as met.
        max_iterations: How many iterations at most.
        tolerance: Iterations end when the sum of distances falls by no more than this share.
    """
    weights = shares(model_set, "geometric_median")

    def factors(gram: Tensor) -> Tensor:
        return weiszfeld(gram, weights, eps, max_iterations, tolerance)

    return mixing(model_set, factors, scope=scope, centered=True)


def weiszfeld(gram: Tensor, weights: Tensor, eps: float, iterations: int, tolerance: float) -> Tensor:
    """Return the geometric median as a mixture of the sources: factors that sum to one.

    Args:
        gram: Inner products of the sources from any origin, `(N, N)`.
        weights: Weight of every source.
        eps: See `geometric_median`.
        iterations: How many at most.
        tolerance: See `geometric_median`.
    """
    factors = weights / weights.sum()
    distances = _distances(gram, factors)
    near = eps * float((weights * distances).sum() / weights.sum())
    total = float((weights * distances).sum())
    for _ in range(iterations):
        met = distances <= near
        pulls = torch.where(met, 0.0, weights / distances.masked_fill(met, 1.0))
        if not bool(pulls.any()):
            break
        target = pulls / pulls.sum()
        held = float(weights[met].sum())
        if held > 0:
            # What all others pull together: sum_i pull_i (theta_i - x) has the length of (target - factors) times sum.
            force = float(pulls.sum() * _length(gram, target - factors))
            if force <= held:
                return torch.where(met, weights, 0.0) / held
            target = (1 - held / force) * target + held / force * factors
        distances = _distances(gram, target)
        now = float((weights * distances).sum())
        factors, gain, total = target, total - now, now
        if gain <= tolerance * total:
            break
    return factors


def _distances(gram: Tensor, factors: Tensor) -> Tensor:
    """Return the distances of the sources to a mixture of them whose factors sum to one."""
    cross = gram @ factors
    return (gram.diagonal() - 2 * cross + factors @ cross).clamp(min=0).sqrt()


def _length(gram: Tensor, factors: Tensor) -> float:
    return float((factors @ gram @ factors).clamp(min=0).sqrt())
