"""Selection within every row (first axis) of a tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hamdg.merge.cutoff import TieRule
from hamdg.merge.family import Site


def rows(tensor: Tensor) -> Tensor:
    """Return a tensor as rows: its first axis stays, the others are flattened; vectors and scalars are one row."""
    return tensor.reshape(tensor.shape[0], -1) if tensor.dim() > 1 else tensor.reshape(1, -1)


def row_trimmed(site: Site, count: Callable[[int], int], ties: TieRule = "exact") -> dict[str, Tensor]:
    """Return every source's change with all but the largest entries of each row set to zero."""
    return {source: _trimmed(change, count, ties) for source, change in site.tensors.items()}


def _trimmed(change: Tensor, count: Callable[[int], int], ties: TieRule) -> Tensor:
    table = rows(change)
    number = count(table.shape[1])
    if number <= 0 or not table.numel():
        return torch.zeros_like(change)
    # A stable sort keeps the first of equal entries before the others.
    order = table.abs().sort(dim=1, descending=True, stable=True)
    number = min(number, table.shape[1])
    if ties == "threshold":
        mask = table.abs() >= order.values[:, number - 1 : number]
    else:
        mask = torch.zeros_like(table, dtype=torch.bool).scatter_(1, order.indices[:, :number], True)
    return (table * mask).view(change.shape)
