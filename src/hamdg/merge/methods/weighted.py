"""Weighted average: the mean of all models, each with a weight of its own."""

from __future__ import annotations

import math

from torch import Tensor

from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method


@tensorwise_method("weighted", on="models", weights="shares", linear=True)
def weighted(tensor_set: TensorSet) -> Tensor:
    """Average the models by weight: theta = sum_i w_i theta_i / sum_i w_i.

    There is no one paper to follow: federated averaging (https://arxiv.org/abs/1602.05629) weighs by the number of
    examples, model soups (https://arxiv.org/abs/2203.05482) weigh all models alike.

    Our choices: the divisor is the sum of the weights, so that weights of 1 and 3 mean the same as 0.25 and 0.75.
    Without weights every source weighs the same, which gives `uniform` bit for bit. Negative weights are taken as they
    are and lead away from a source; weights whose sum is zero are refused.
    """
    return weighted_mean(tensor_set)


def weighted_mean(tensor_set: TensorSet) -> Tensor:
    """Return the mean of a tensor by the sources' weights."""
    shares = scaled_weights(tensor_set)
    total = tensor_set.like.new_zeros(tensor_set.like.shape)
    for source, share in shares.items():
        if share:
            total.add_(tensor_set.tensors[source], alpha=share)
    return total.div_(math.fsum(shares.values()))


def scaled_weights(tensor_set: TensorSet) -> dict[str, float]:
    """Return the sources' weights, divided by a power of two that brings the largest one near 1.

    Of a mean only ratios matter, and then no product overflows where the mean does not.
    """
    weights = {source: tensor_set.weight(source) for source in tensor_set.tensors}
    _, exponent = math.frexp(max(abs(weight) for weight in weights.values()))
    return {source: math.ldexp(weight, -exponent) for source, weight in weights.items()}
