"""TSV-M: keep the strongest directions of every change and make those of all sources orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import added
from hamdg.merge.functional.spectral import Kernels, Layout, Packed, leading, orthogonal
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Grid


@tensorwise_method("tsv", on="changes", buffers=added)
def tsv(
    tensor_set: TensorSet,
    *,
    scale: Annotated[float, Grid(0.3, 0.5, 1.0, 1.5)] = 1.0,
    skip: str = "text_projection",
    kernels: Kernels = "average",
    packed: Packed = "whole",
) -> Tensor:
    """Keep the strongest singular triplets of every change, and add them after making their vectors orthogonal.

    For a matrix of smaller side r and N sources: the k = floor(r / N) largest singular triplets of each tau_i, side by
    side as U, S, V; U_perp and V_perp are the polar factors of U and V (the nearest matrices with orthonormal columns);
    theta = theta_0 + scale U_perp S V_perp^T.

    See Gargiulo et al. (TSV-Merge), https://arxiv.org/abs/2412.00081. Stated, as read in the authors' code and not in
    the paper's text: k, the polar factor, and that everything that is not a matrix is averaged (not summed) and
    multiplied by `scale` as well, and so is `text_projection`. Our choice: directions whose singular value is zero
    (below 1e-6 of the largest, 1e-12 in double precision) take no part; where sources share a direction exactly, the
    polar factor adds no other in its place (the code adds vectors that the decomposition routine is free to choose), so
    that equal sources give what one of them keeps; matrices with r < N, of which the code keeps nothing at all, are
    averaged. The k-th singular value should differ from the next, or the choice between their directions is arbitrary.
    With `allow_nonfinite`, matrices that hold non-finite values are averaged.

    Args:
        scale: Factor of the merged change; published as 1, or chosen on validation data between 0 and 3.
        skip: Parts of names, separated by commas; tensors whose name holds one are averaged (default: the code's).
        kernels: Whether tensors of three and more dimensions (convolutions) are averaged (the code) or taken as
            matrices of shape (first, rest).
        packed: Whether the weight of packed queries, keys and values (`in_proj_weight`) is one matrix (the code), or
            `split` into three that are merged apart.
    """

    def rule(changes: Mapping[str, Tensor]) -> Tensor:
        factors = leading(changes)
        return (orthogonal(factors.left) * factors.values) @ orthogonal(factors.right).mT

    return Layout(skip, kernels, packed).merge(tensor_set, rule, smallest=len(tensor_set.tensors)) * scale
