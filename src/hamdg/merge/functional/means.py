"""The plain mean of what the sources changed, and its length."""

from __future__ import annotations

import torch
from torch import Tensor

from hamdg.merge.model_set import TensorSet


def mean(site: TensorSet) -> Tensor:
    """Return the mean of a site's tensors over the sources."""
    total = torch.zeros_like(site.like)
    for tensor in site.tensors.values():
        total += tensor
    return total / len(site.tensors)


def square(tensor: Tensor) -> float:
    """Return the squared Euclidean norm, summed up in double precision."""
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64).square())
