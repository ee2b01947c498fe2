"""Mixtures of the sources, sum_i c_i theta_i: the mean, and those whose factors c_i follow from lengths and angles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError
from hamdg.merge.buffers import BufferShares
from hamdg.merge.functional.rows import rows
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import PIECE, ModelSet, TensorSet

Scope = Literal["tensor", "row", "column", "global"]
Space = Literal["weights", "changes"]
# Takes inner products of the sources, `(..., N, N)`, and gives the factors of their mixture, `(..., N)`.
Factors = Callable[[Tensor], Tensor]


def mixing(
    model_set: ModelSet, factors: Factors, *, scope: Scope, space: Space = "weights", centered: bool = False
) -> MergePlan:
    """Return a plan that mixes the sources by factors that follow from their inner products.

    The models are read twice, whatever the factors take: once for inner products, once to mix.

    Args:
        model_set: The models.
        factors: Gives the factors.
        scope: Whether factors are found for each tensor, each row (first axis) or column (the other axes) of a tensor,
            or once for the whole model; vectors and scalars are one row or column.
        space: Whether what the model set holds is mixed as it is, or its models' changes from the base.
        centered: Whether inner products are of the differences from the first source.

    Raises:
        ConfigError: Changes are asked for without a base.
    """
    if space == "changes" and model_set.base is None:
        start = "is `changes`, which are taken from a start model; give it as "
        raise ConfigError("Option ", Argument("space"), f" {start}", Argument("base"), ".")
    vectors = model_set.as_changes() if space == "changes" else model_set
    everywhere = factors(_model_gram(vectors, centered)) if scope == "global" else None
    buffers = None if everywhere is None else _buffers(vectors, everywhere)

    def rule(tensor_set: TensorSet) -> Tensor:
        own = vectors.tensor_set(tensor_set.name)
        found = factors(gram(own, scope, centered)) if everywhere is None else everywhere
        mixed = mixture(own, found, scope)
        return mixed if own.base is None or space == "weights" else own.base + mixed

    return MergePlan(rule, buffers=buffers)


def gram(tensor_set: TensorSet, scope: Scope = "tensor", centered: bool = False) -> Tensor:
    """Return the inner products of the sources in float64, reading them once and piece by piece.

    Args:
        tensor_set: The tensor.
        scope: Whether they are of the tensor, `(N, N)`, or of each row or column, `(number, N, N)`.
        centered: Whether they are of the differences from the first source.
    """
    by_line = scope in ("row", "column") and tensor_set.like.dim() > 1
    width = rows(tensor_set.like).shape[1] if by_line else 1
    parts, total = [], torch.zeros((), dtype=torch.float64)
    for piece in tensor_set.pieces(max(1, PIECE // width) * width):
        values = torch.stack([tensor.double() for tensor in piece.tensors.values()])
        if centered:
            values = values - values[0].clone()
        if not by_line:
            total = total + (values @ values.T).cpu()
        elif scope == "row":
            parts.append(torch.einsum("irc,jrc->rij", *2 * [values.view(len(values), -1, width)]).cpu())
        else:
            total = total + torch.einsum("irc,jrc->cij", *2 * [values.view(len(values), -1, width)]).cpu()
    return torch.cat(parts) if parts else total


def mixture(tensor_set: TensorSet, factors: Tensor, scope: Scope = "tensor") -> Tensor:
    """Return the sum of the sources, each times its factor.

    Args:
        tensor_set: The tensor.
        factors: Those of the sources, `(N,)`, or of the sources in each row or column, `(number, N)`.
        scope: What the factors were found for.
    """
    if factors.dim() == 1:
        plain = factors.tolist()
        return tensor_set.by_pieces(lambda piece: _summed(piece, plain))
    table = rows(tensor_set.like)
    total = torch.zeros_like(table)
    for source, tensor in enumerate(tensor_set.tensors.values()):
        own = factors[:, source].to(table)
        total += rows(tensor) * (own[:, None] if scope == "row" else own)
    return total.view(tensor_set.like.shape)


def shares(model_set: ModelSet, method: str) -> Tensor:
    """Return the sources' weights as shares that sum to one, in float64.

    Raises:
        ConfigError: A weight is negative.
    """
    for source, weight in model_set.weights.items():
        if weight < 0:
            raise ConfigError(
                f"Merge method `{method}` takes no negative weights, but that of `{source}` is {weight}; give one of "
                "zero or more."
            )
    weights = torch.tensor([model_set.weights.get(source, 1.0) for source in model_set.sources], dtype=torch.float64)
    return weights / weights.sum()


def mean(tensor_set: TensorSet) -> Tensor:
    """Return the mean of a tensor over the sources."""
    total = torch.zeros_like(tensor_set.like)
    for tensor in tensor_set.tensors.values():
        total += tensor
    return total / len(tensor_set.tensors)


def square(tensor: Tensor) -> float:
    """Return the squared Euclidean norm, summed up in double precision."""
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64).square())


def lengths_and_cosines(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lengths of the sources, `(..., N)`, and the cosines between them, `(..., N, N)`.

    Where one of two has no length their cosine is 0.
    """
    lengths = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    scale = inverse(lengths)
    cosines = (gram * scale[..., :, None] * scale[..., None, :]).clamp(-1, 1)
    return lengths, cosines


def inverse(lengths: Tensor) -> Tensor:
    """Return one over every length, what turns vectors into directions; 0 where there is no length."""
    return torch.where(lengths > 0, 1 / lengths.masked_fill(lengths == 0, 1.0), lengths.new_zeros(()))


def _model_gram(model_set: ModelSet, centered: bool) -> Tensor:
    total = torch.zeros(len(model_set.sources), len(model_set.sources), dtype=torch.float64)
    for part in model_set.map(lambda tensor_set: gram(tensor_set, "tensor", centered)).values():
        total += part
    return total


def _buffers(model_set: ModelSet, factors: Tensor) -> BufferShares:
    """Return what the buffers of a mixture are made of that is the same in all tensors."""
    shares = dict(zip(model_set.sources, factors.tolist(), strict=True))
    # Directions are mixed by factors that sum to more than 1, which takes nothing from a base.
    return BufferShares(shares, 1 - math.fsum(shares.values()) if model_set.changes else 0.0)


def _summed(tensor_set: TensorSet, factors: list[float]) -> Tensor:
    total = torch.zeros_like(tensor_set.like)
    for factor, tensor in zip(factors, tensor_set.tensors.values(), strict=True):
        total.add_(tensor, alpha=factor)
    return total
