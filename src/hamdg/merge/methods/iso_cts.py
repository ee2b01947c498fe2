"""Iso-CTS: common directions from the sum of the changes, the others from each change, all equally strong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import added
from hamdg.merge.functional.spectral import Kernels, Layout, Packed, decompose, join, norm, orthogonal, total
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Grid, Range


@tensorwise_method("iso_cts", on="changes", buffers=added)
def iso_cts(
    tensor_set: TensorSet,
    *,
    common: Annotated[float, Range(0, 1), Grid(0.5, 0.8)] = 0.8,
    scale: Annotated[float, Grid(0.3, 0.5, 1.0, 1.5)] = 1.0,
    skip: str = "text_projection",
    kernels: Kernels = "average",
    packed: Packed = "whole",
) -> Tensor:
    """Keep the strongest directions of the sum, fill the rest from every source, and make all equally strong.

    For a matrix of smaller side r and N sources: the c largest singular triplets of sum_i tau_i = U diag(s) V^T; then
    of each tau_i - U_c U_c^T tau_i (what the common directions leave) the p largest; all left vectors side by side are
    made orthogonal by their polar factor, all right ones likewise, and every singular value is set to the mean of all.
    theta = theta_0 + scale mean(s) U_perp V_perp^T.

    See Marczak et al., https://arxiv.org/abs/2502.04959. Stated, as read in the authors' code and not in the paper's
    text: c starts as floor(common r); every source gets p = (r - c) / N directions, rounded to the nearest whole number
    (a half to the even one), and the common ones what is left, c = r - N p; only the left side is projected; what is no
    matrix is averaged, not summed. With p = 0 it is Iso-C. Our choice: p is at most floor(r / N) (the code would count
    c below zero); singular values that are zero give no direction and do not count in the mean; directions that sources
    share exactly are not filled up with arbitrary ones, see `tsv`. With `allow_nonfinite`, matrices that hold
    non-finite values are averaged.

    Args:
        common: Share of the directions that is taken from the sum; the authors' default.
        scale: Factor of the merged change; published as 1, searched on validation data.
        skip: Parts of names, separated by commas; tensors whose name holds one are averaged (default: the code's).
        kernels: Whether tensors of three and more dimensions (convolutions) are averaged (the code) or taken as
            matrices of shape (first, rest).
        packed: Whether the weight of packed queries, keys and values (`in_proj_weight`) is one matrix (the code), or
            `split` into three that are merged apart.
    """

    def rule(changes: Mapping[str, Tensor]) -> Tensor:
        shared, own = _numbers(min(next(iter(changes.values())).shape), len(changes), common)
        norms = {source: norm(change) for source, change in changes.items()}
        trunk = decompose(total(changes), shared, against=sum(norms.values()))
        parts = [trunk]
        for source in changes if own else ():
            change = changes[source]
            rest = change - trunk.left @ (trunk.left.mT @ change)
            parts.append(decompose(rest, own, against=norms[source]))
        factors = join(parts)
        strength = factors.values.mean() if factors.rank else 0.0
        return strength * (orthogonal(factors.left) @ orthogonal(factors.right).mT)

    return Layout(skip, kernels, packed).merge(tensor_set, rule) * scale


def _numbers(size: int, sources: int, common: float) -> tuple[int, int]:
    """Return how many directions come from the sum, and how many from each source."""
    # 0.58 * 50 is a little less than 29 in floating point.
    wanted = math.floor(common * size + 1e-9)
    own = min(round((size - wanted) / sources), size // sources)
    return size - own * sources, own
