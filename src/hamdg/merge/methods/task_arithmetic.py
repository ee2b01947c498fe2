"""Task arithmetic: add what every source changed."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import added
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import FactorOfSum, Grid, Range


@tensorwise_method("task_arithmetic", on="changes", weights="factors", pieces=True, buffers=added)
def task_arithmetic(
    tensor_set: TensorSet, *, scale: Annotated[float, Range(), Grid(0.1, 0.3, 0.5, 0.7, 1.0), FactorOfSum()] = 0.3
) -> Tensor:
    """Add the sources' changes to the base: theta = theta_0 + scale sum_i w_i tau_i.

    See Ilharco et al., https://arxiv.org/abs/2212.04089.

    Args:
        scale: Factor of the sum; the paper's for eight tasks, to be chosen on validation data. 1/N gives the mean.
    """
    total = tensor_set.like.new_zeros(tensor_set.like.shape)
    for source, change in tensor_set.tensors.items():
        total.add_(change, alpha=tensor_set.weight(source))
    return total.mul_(scale)
