"""AdaMerging: learn how much of every source to add from unlabeled data of the target domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.errors import TrainingError
from hamdg.merge.buffers import BufferShares, added
from hamdg.merge.evidence import Target
from hamdg.merge.functional.mixtures import mixture
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


def _shares(weights: Mapping[str, float]) -> BufferShares:
    """Mix the statistics of the sources, by their factors in the mean of all tensors, and, up to 1, of the base."""
    return added(weights, scale=1.0)


@global_method("adamerging", on="changes", needs=("target",), target=True, buffers=_shares)
def adamerging(
    model_set: ModelSet,
    *,
    scope: Literal["layer", "task"] = "layer",
    start: Annotated[float, Range(0, 1)] = 0.3,
    rate: Annotated[float, Range(0, above=True)] = 1e-3,
    steps: Annotated[int, Range(0)] = 500,
) -> MergePlan:
    """Add the sources' changes by factors learned on unlabeled data of the target domain: no domain generalization.

    theta = theta_0 + sum_i lambda_i tau_i, the factors being clamped to [0, 1] and found by Adam as those whose model
    has the least mean entropy of predictions on batches of the target data (`hamdg.merge.evidence.Target`). See Yang et
    al., https://arxiv.org/abs/2310.02575. The gradient by lambda_i is the inner product of tau_i and the gradient of
    the entropy by the weights; as in the released code it is zero while lambda_i lies outside of [0, 1].

    The released code takes 500 steps (500 to 1000 are in use), each on batches of 16 images of every task, whose
    entropies it adds. Ours: one batch a step, the next that the evidence gives; the factors after the last step are
    taken; a tensor of which the evidence names no gradient keeps its first factors. Every step reads all models twice.

    Args:
        scope: Whether every tensor has factors of its own (`layer`; the released code's layer is a tensor, not a block)
            or each source has one (`task`).
        start: Factors before the first step (the paper's .3).
        rate: Learning rate of Adam (the paper's .001; betas are .9 and .999).
        steps: How many steps.
    """
    assert isinstance(model_set.evidence, Target)
    lines = {name: place if scope == "layer" else 0 for place, name in enumerate(model_set.names)}
    factors = torch.full((max(lines.values(), default=0) + 1, len(model_set.sources)), start, dtype=torch.float64)
    optimizer = torch.optim.Adam([factors], lr=rate)

    def rule(tensor_set: TensorSet) -> Tensor:
        return mixture(tensor_set, factors[lines[tensor_set.name]].clamp(0, 1))

    def plan() -> MergePlan:
        means = factors.clamp(0, 1).mean(0).tolist()
        return MergePlan(rule, buffers=_shares(dict(zip(model_set.sources, means, strict=True))))

    for step in range(steps if model_set.names else 0):
        weights = model_set.complete(plan())
        with torch.enable_grad():
            entropy, gradient = model_set.evidence.entropy(weights)
        if not math.isfinite(entropy):
            raise TrainingError(f"The entropy on target data is {entropy} in step {step + 1}; look at these data.")
        slopes = model_set.map(partial(_slopes, gradient=model_set.untied(gradient)))
        factors.grad = torch.zeros_like(factors)
        for name in model_set.names:
            factors.grad[lines[name]] += slopes[name]
        factors.grad *= (factors >= 0) & (factors <= 1)
        optimizer.step()
    return plan()


def _slopes(tensor_set: TensorSet, gradient: Mapping[str, Tensor]) -> Tensor:
    """Return the inner product of every source's change and the gradient."""
    total = torch.zeros(len(tensor_set.tensors), dtype=torch.float64)
    if tensor_set.name not in gradient:
        return total
    flat = gradient[tensor_set.name].detach().reshape(-1)
    for piece in tensor_set.pieces():
        part = flat[piece.start : piece.start + piece.like.numel()].to(piece.like).double()
        total += torch.stack([torch.dot(tensor.double(), part) for tensor in piece.tensors.values()]).cpu()
    return total
