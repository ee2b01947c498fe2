"""Task arithmetic: add what every source changed."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from hamdg.merge.model_set import TensorSet
from hamdg.merge.options import Range
from hamdg.merge.registry import register
from hamdg.merge.shares import added


@register("task_arithmetic", on="changes", weights="factors", pieces=True, buffers=added)
def task_arithmetic(site: TensorSet, *, scale: Annotated[float, Range()] = 0.3) -> Tensor:
    """Add the sources' changes to the base: theta = theta_0 + scale sum_i w_i tau_i.

    See Ilharco et al., https://arxiv.org/abs/2212.04089.

    Args:
        scale: Factor of the sum; the paper's for eight tasks, to be chosen on validation data. 1/N gives the mean.
    """
    total = site.like.new_zeros(site.like.shape)
    for source, change in site.tensors.items():
        total.add_(change, alpha=site.weight(source))
    return total.mul_(scale)
