"""Iso-C: add the changes and give all directions of the sum the same strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import added
from hamdg.merge.functional.spectral import Kernels, Layout, Packed, decompose, total
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Grid


@tensorwise_method("iso_c", on="changes", buffers=added)
def iso_c(
    tensor_set: TensorSet,
    *,
    scale: Annotated[float, Grid(0.3, 0.5, 1.0, 1.5)] = 1.0,
    skip: str = "text_projection",
    kernels: Kernels = "average",
    packed: Packed = "whole",
) -> Tensor:
    """Add the changes of every matrix and set all singular values of the sum to their mean.

    With sum_i tau_i = U diag(s) V^T: theta = theta_0 + scale mean(s) U V^T.

    See Marczak et al., https://arxiv.org/abs/2502.04959. Stated, as read in the authors' code and not in the paper's
    text: the mean is taken of the sum's singular values, everything that is not a matrix is averaged (not summed) and
    multiplied by `scale` as well, and so is `text_projection`. Our choice: singular values that are zero (below 1e-6 of
    the largest, 1e-12 in double precision) stay zero and do not count in the mean. The authors raise them, too, along
    vectors that the decomposition routine is free to choose; for matrices of full rank both are the same, and the sum
    of the singular values always stays. A change of low rank that was rounded to half precision has full rank, and its
    rounding is raised with the rest. With `allow_nonfinite`, matrices that hold non-finite values are
    averaged.

    Args:
        scale: Factor of the merged change; published as 1, searched on validation data.
        skip: Parts of names, separated by commas; tensors whose name holds one are averaged (default: the code's).
        kernels: Whether tensors of three and more dimensions (convolutions) are averaged (the code) or taken as
            matrices of shape (first, rest).
        packed: Whether the weight of packed queries, keys and values (`in_proj_weight`) is one matrix (the code), or
            `split` into three that are merged apart.
    """

    def rule(changes: Mapping[str, Tensor]) -> Tensor:
        factors = decompose(total(changes))
        strength = factors.values.mean() if factors.rank else 0.0
        return strength * (factors.left @ factors.right.mT)

    return Layout(skip, kernels, packed).merge(tensor_set, rule) * scale
