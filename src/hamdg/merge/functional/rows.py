"""Selection and ranks within every row (first axis) of a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hamdg.merge.functional.cutoff import TieRule
from hamdg.merge.model_set import PIECE, TensorSet


def row_length(tensor: Tensor) -> int:
    """Return how many entries a row has: all but the first axis; vectors and scalars are one row."""
    return math.prod(tensor.shape[1:]) if tensor.dim() > 1 else tensor.numel()


def rows(tensor: Tensor) -> Tensor:
    """Return a tensor as rows: its first axis stays, the others are flattened; vectors and scalars are one row."""
    return tensor.reshape(tensor.shape[0] if tensor.dim() > 1 else 1, row_length(tensor))


def by_rows(tensor_set: TensorSet, rule: Callable[[TensorSet, int], Tensor]) -> Tensor:
    """Apply a rule that treats rows alike to pieces of whole rows.

    Args:
        tensor_set: The tensor set.
        rule: Takes a flat piece, which holds whole rows, and the length of a row; gives the flat result.
    """
    result = torch.empty_like(tensor_set.like, memory_format=torch.contiguous_format)
    flat, length = result.view(-1), max(1, row_length(tensor_set.like))
    for piece in tensor_set.pieces(length * max(1, PIECE // length)):
        begin = piece.start - tensor_set.start
        flat[begin : begin + piece.like.numel()] = rule(piece, length)
    return result


def largest(score: Tensor, count: int, ties: TieRule = "exact") -> Tensor:
    """Mark the largest scores of each row of a table.

    Args:
        score: Rows of scores.
        count: How many are marked in each row.
        ties: Whether exactly that many are marked, the first of equal ones winning (`exact`), or all that are as
            large as the last of them (`threshold`).
    """
    length = score.shape[1]
    if count <= 0 or count >= length:
        return torch.full_like(score, count > 0, dtype=torch.bool)
    last = score.kthvalue(length - count + 1, dim=1, keepdim=True).values
    mask = score >= last
    if ties == "exact" and int(mask.sum()) > count * score.shape[0]:
        mask, equal = score > last, score == last
        mask |= equal & (equal.cumsum(1) <= count - mask.sum(1, keepdim=True))
    return mask


def descending(score: Tensor) -> Tensor:
    """Return the order of each row of a table, the largest score first and equal ones in the order of their places.

    Args:
        score: Rows of scores, zero or larger.
    """
    if score.dtype != torch.float32 or score.device.type != "cpu":
        return torch.sort(score, dim=1, descending=True, stable=True).indices
    # Score and place in one integer: sorting those needs no stable sort and is several times as fast.
    bits = (score + 0.0).view(torch.int32).long()
    keys = ((torch.iinfo(torch.int32).max - bits) << 32) | torch.arange(score.shape[1])
    return torch.from_numpy(np.sort(keys.numpy(), axis=1)) & 0xFFFFFFFF
