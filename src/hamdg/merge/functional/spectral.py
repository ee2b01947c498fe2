"""Singular values and vectors of changes: what TSV, Iso-C, Iso-CTS and SCORE have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hamdg.merge.model_set import TensorSet
from hamdg.merge.tensors import is_finite

Kernels = Literal["average", "reshape"]
Packed = Literal["whole", "split"]
MatrixRule = Callable[[Mapping[str, Tensor]], Tensor]

# Singular values below this share of the largest are noise of the arithmetic, and their vectors are anybody's choice.
_RESOLUTION = {torch.float32: 1e-6, torch.float64: 1e-12}


@dataclass(frozen=True)
class Factors:
    """The singular value decomposition M = sum_j s_j u_j v_j^T of a matrix, or a part of it.

    Args:
        left: The vectors u_j as columns.
        values: The values s_j, the largest first.
        right: The vectors v_j as columns.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        """How many singular values there are."""
        return self.values.numel()


def decompose(matrix: Tensor, most: int | None = None, against: float = 0.0) -> Factors:
    """Return the singular value decomposition of a matrix without the values that are zero.

    A single-precision matrix is decomposed through the eigenvectors of its Gram matrix in double precision, which takes
    no longer than a direct decomposition in single precision and is more accurate; double precision is decomposed
    directly. Of the two signs of a pair of vectors the one is taken that makes the largest entry of v_j positive.

    Args:
        matrix: A matrix in fp32 or fp64.
        most: How many singular triplets are wanted at most, those with the largest values.
        against: The norm of what the matrix is a difference of; what is zero is judged by it, too, because a difference
            of equal matrices is noise.
    """
    if matrix.shape[0] < matrix.shape[1]:
        turned = _tall(matrix.mT, most, against)
        return _signed(Factors(turned.right, turned.values, turned.left))
    return _signed(_tall(matrix, most, against))


def join(parts: list[Factors]) -> Factors:
    """Put several sets of factors side by side; their vectors are in general not orthogonal to each other."""
    return Factors(
        torch.cat([part.left for part in parts], dim=1),
        torch.cat([part.values for part in parts]),
        torch.cat([part.right for part in parts], dim=1),
    )


def orthogonal(columns: Tensor) -> Tensor:
    """Return the polar factor P Q^T of a matrix P D Q^T: the nearest one whose columns are orthonormal.

    Where columns depend on each other there is more than one such matrix; then it is the nearest one that adds no
    direction that is not in the columns' span, which is unique.
    """
    factors = decompose(columns)
    return factors.left @ factors.right.mT


def leading(changes: Mapping[str, Tensor]) -> Factors:
    """Return the floor(r / N) largest singular triplets of every one of N matrices of smaller side r, side by side."""
    size = min(next(iter(changes.values())).shape)
    return join([decompose(change, size // len(changes)) for change in changes.values()])


def total(changes: Mapping[str, Tensor]) -> Tensor:
    """Return the sum over the sources."""
    first, *others = changes
    result = changes[first].clone()
    for source in others:
        result += changes[source]
    return result


@dataclass(frozen=True)
class Layout:
    """Which tensors are matrices to a spectral method; all others are averaged.

    Args:
        skip: Parts of names, separated by commas, of tensors that are averaged.
        kernels: Whether tensors of three and more dimensions are averaged or taken as matrices of shape (first, rest).
        packed: Whether the packed weight of an attention layer (`in_proj_weight`) is one matrix or three.
    """

    skip: str = "text_projection"
    kernels: Kernels = "average"
    packed: Packed = "whole"

    def merge(self, tensor_set: TensorSet, rule: MatrixRule, smallest: int = 1) -> Tensor:
        """Merge a tensor as a matrix (or as several) by a rule, or average it.

        Args:
            tensor_set: The tensor of all sources.
            rule: Takes the matrices of all sources and gives the merged one.
            smallest: How many rows and columns a matrix must have; smaller ones are averaged.
        """
        shape = tensor_set.like.shape
        width = tensor_set.like[0].numel() if len(shape) > 0 and shape[0] > 0 else 0
        height = shape[0] // self._blocks(tensor_set) if width else 0
        finite = self._is_matrix(tensor_set) and all(is_finite(tensor) for tensor in tensor_set.tensors.values())
        if not finite or min(height, width) < smallest:
            return total(tensor_set.tensors) / len(tensor_set.tensors)
        starts = range(0, shape[0], height)
        return torch.cat([rule(_Rows(tensor_set.tensors, start, height)) for start in starts]).view(shape)

    def _is_matrix(self, tensor_set: TensorSet) -> bool:
        dimensions = tensor_set.like.dim()
        skipped = any(part.strip() in tensor_set.name for part in self.skip.split(",") if part.strip())
        return not skipped and (dimensions == 2 or (dimensions > 2 and self.kernels == "reshape"))

    def _blocks(self, tensor_set: TensorSet) -> int:
        packed = tensor_set.name.endswith("in_proj_weight") and tensor_set.like.shape[0] % 3 == 0
        return 3 if packed and self.packed == "split" else 1


class _Rows(Mapping[str, Tensor]):
    """Some rows of every source's tensor as a matrix, read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], start: int, height: int) -> None:
        self._tensors, self._start, self._height = tensors, start, height

    def __getitem__(self, source: str) -> Tensor:
        return self._tensors[source].flatten(1)[self._start : self._start + self._height]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def norm(matrix: Tensor) -> float:
    """Return the Euclidean norm of a matrix's entries."""
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64))


def _tall(matrix: Tensor, most: int | None, against: float) -> Factors:
    """Decompose a matrix that is at least as high as wide."""
    if matrix.dtype == torch.float64:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        kept = _rank(values, matrix.dtype, against, most)
        return Factors(left[:, :kept], values[:kept], right[:kept].mT)
    wide = matrix.double()
    squares, vectors = torch.linalg.eigh(wide.mT @ wide)
    kept = _rank(squares.flip(0).clamp(min=0).sqrt(), matrix.dtype, against, most)
    vectors = vectors.flip(1)[:, :kept]
    # The columns' lengths are the singular values, and for the small ones better than the roots of the eigenvalues.
    images = wide @ vectors
    values = torch.linalg.vector_norm(images, dim=0)
    return Factors((images / values).to(matrix.dtype), values.to(matrix.dtype), vectors.to(matrix.dtype))


def _rank(values: Tensor, dtype: torch.dtype, against: float, most: int | None) -> int:
    rank = int((values > _RESOLUTION[dtype] * values[:1].clamp(min=against)).sum())
    return rank if most is None else min(rank, most)


def _signed(factors: Factors) -> Factors:
    if not factors.rank:
        return factors
    largest = factors.right.abs().argmax(dim=0, keepdim=True)
    signs = factors.right.gather(0, largest).sign()
    return Factors(factors.left * signs, factors.values, factors.right * signs)
