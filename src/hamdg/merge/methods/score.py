"""SCORE: look at every change in a basis that all share, and prune what mixes its directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.buffers import added
from hamdg.merge.functional.spectral import Kernels, Layout, Packed, leading, orthogonal
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Grid, Range

OffDiagonal = Literal["trim", "drop", "keep"]
Divisor = Literal["none", "sources"]
Center = Literal["mean", "zero"]


@tensorwise_method("score", on="changes", buffers=added)
def score(
    tensor_set: TensorSet,
    *,
    threshold: Annotated[float, Range(0), Grid(1.0, 1.96, 3.0)] = 1.96,
    divisor: Divisor = "none",
    center: Center = "mean",
    off_diagonal: OffDiagonal = "trim",
    scale: Annotated[float, Grid(0.3, 0.5, 1.0)] = 1.0,
    skip: str = "text_projection",
    kernels: Kernels = "average",
    packed: Packed = "whole",
) -> Tensor:
    """Project every change on a basis that all sources share, and prune the outliers off the diagonal.

    For a matrix of smaller side r and N sources: the floor(r / N) largest singular triplets of each tau_i side by side
    as U and V, with polar factors U_perp and V_perp (as in `tsv`); M_i = U_perp^T tau_i V_perp; of M_i the diagonal
    stays, and of the entries off the diagonal those with |m - center| <= t, t = threshold std / divisor; all others are
    set to zero. theta = theta_0 + scale U_perp (sum_i M_i) V_perp^T.

    See Chaves et al. (SCORE, CVPR 2026), https://arxiv.org/abs/2603.05768; we know the abstract, the threshold of 1.96
    standard deviations and the authors' code (VirtualSpaceman/score_cvpr26), not the whole paper. Paper: the shared
    basis, the pruning, the threshold. Authors' code only: t is divided by N on all but the medical data sets (`divisor`
    is then `sources`: set it to repeat their numbers on PACS, OfficeHome, TerraIncognita, DomainNet), which the
    paper's formula lacks; entries are measured from their mean; mean and standard deviation (with n - 1) are over all
    entries of the matrix with the diagonal set to zero; factor 1; what is not a matrix is averaged, not summed. Ours:
    the basis has the columns of U and V only, where the code fills up to r, and for directions that sources share
    exactly, with vectors that the decomposition routine is free to choose; matrices with r < N are averaged; singular
    vectors have the sign that makes the largest entry of the right one positive, because the mean of the entries (not
    with `center` zero) depends on signs. Where singular values of a source are equal, the definition itself depends on
    which of their vectors are taken. With `allow_nonfinite`, matrices that hold non-finite values are averaged.

    Args:
        threshold: How many standard deviations from the center an entry may lie; the paper's.
        divisor: What the threshold is divided by: nothing (the paper) or the number of sources (the code, see above).
        center: What entries are measured from: their mean (the code) or `zero` (ours).
        off_diagonal: Whether entries off the diagonal are pruned by the threshold (`trim`, the method), all of them
            (`drop`, the code's second variant), or none (`keep`: the sum of the changes within the shared basis).
        scale: Factor of the merged change; 1 in the code.
        skip: Parts of names, separated by commas; tensors whose name holds one are averaged (default: the code's).
        kernels: Whether tensors of three and more dimensions (convolutions) are averaged (the code) or taken as
            matrices of shape (first, rest).
        packed: Whether the weight of packed queries, keys and values (`in_proj_weight`) is one matrix (the code), or
            `split` into three that are merged apart.
    """
    limit = threshold / (len(tensor_set.tensors) if divisor == "sources" else 1)

    def rule(changes: Mapping[str, Tensor]) -> Tensor:
        factors = leading(changes)
        left, right = orthogonal(factors.left), orthogonal(factors.right)
        merged = left.new_zeros(factors.rank, factors.rank)
        for change in changes.values():
            merged += _pruned(left.mT @ change @ right, limit, center, off_diagonal)
        return left @ merged @ right.mT

    return Layout(skip, kernels, packed).merge(tensor_set, rule, smallest=len(tensor_set.tensors)) * scale


def _pruned(matrix: Tensor, limit: float, center: Center, off_diagonal: OffDiagonal) -> Tensor:
    if off_diagonal == "keep":
        return matrix
    diagonal = torch.diag(matrix.diagonal())
    if off_diagonal == "drop" or matrix.numel() < 2:
        return diagonal
    # In double precision, because the entries' mean is a small difference of large sums.
    mixing = (matrix - diagonal).double()
    middle = mixing.mean() if center == "mean" else 0.0
    inside = (mixing - middle).abs() <= limit * mixing.std()
    return diagonal + (matrix - diagonal) * inside
