"""OPA's arithmetic: how the vectors of N models (gradients, updates, displacements) are brought together.

The published description says that update directions are harmonized during training and no more; every rule here is
our reconstruction. All rules but `sign_consensus` give each model a linear combination of all models' vectors whose
coefficients follow from the vectors' inner products alone, so one pass for the Gram matrix is all that they read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-12
# What is left of a vector below this share of its squared length is rounding in fp32, and no direction.
_NOTHING_LEFT = 1e-6


def gram(vectors: Sequence[Tensor]) -> Tensor:
    """Return the inner products [n, n] of n tensors of one shape, in float64."""
    rows = torch.stack([vector.detach().flatten().float() for vector in vectors])
    return (rows @ rows.T).double()


def cosines(products: Tensor) -> Tensor:
    """Turn a Gram matrix [n, n] into cosines; the cosine with a zero vector is 0."""
    norms = products.diagonal().clamp(min=0).sqrt()
    scale = torch.where(norms > _TINY, 1 / norms.clamp(min=_TINY), torch.zeros_like(norms))
    return products * scale[:, None] * scale[None, :]


def pcgrad(products: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Return PCGrad's coefficients: vector i loses its projection on every vector j that it conflicts with.

    See https://arxiv.org/abs/2001.06782. Each model keeps its own projected vector (there is no sum).

    Args:
        products: Gram matrix [n, n] of the vectors.
        orders: For each i, the order in which the others are visited.

    Returns:
        Coefficients [n, n]: new vector i is the sum over j of `coefficients[i, j]` times vector j.
    """
    # Whether vectors conflict is asked one by one: on the host, after one copy.
    products = products.cpu()
    coefficients = torch.eye(len(products), dtype=products.dtype)
    for i, order in enumerate(orders):
        for j in order:
            overlap = coefficients[i] @ products[:, j]
            if j != i and overlap < 0:
                coefficients[i, j] -= overlap / products[j, j]
    return coefficients


def project(products: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Return PCGrad's coefficients scaled so that each vector is as long as before: only its direction changes.

    A vector of which nothing is left, as it was opposite to another one, becomes zero.

    Args:
        products: Gram matrix [n, n] of the vectors.
        orders: For each i, the order in which the others are visited.
    """
    products = products.cpu()
    coefficients = pcgrad(products, orders)
    before, after = products.diagonal(), ((coefficients @ products) * coefficients).sum(dim=1)
    has_direction = after > _NOTHING_LEFT * before
    scale = torch.where(has_direction, (before / after.clamp(min=_TINY**2)).sqrt(), torch.zeros_like(after))
    return coefficients * scale[:, None]


def cosine_penalty(products: Tensor) -> Tensor:
    """Return the coefficients of the gradient of `sum_i 1 - cos(d_i, stopgrad(mean of all d))`.

    A displacement (or a mean) of norm zero has no direction; its gradient is zero.

    Args:
        products: Gram matrix [n, n] of the displacements d.
    """
    count = len(products)
    norms = products.diagonal().clamp(min=0).sqrt()
    mean_norm = (products.sum() / count**2).clamp(min=0).sqrt()
    cosines_with_mean = products.mean(dim=1) / (norms * mean_norm)
    pulls = torch.diag(cosines_with_mean / norms**2) - (1 / (count * norms * mean_norm))[:, None]
    directed = (norms > _TINY) & (mean_norm > _TINY)
    return torch.where(directed[:, None], pulls, torch.zeros_like(pulls))


def l2_penalty(count: int) -> Tensor:
    """Return the coefficients of the gradient of `sum_i |d_i - stopgrad(mean of all d)|^2 / 2`."""
    return torch.eye(count, dtype=torch.float64) - 1 / count


def combine(vectors: Sequence[Tensor], coefficients: Tensor) -> list[Tensor]:
    """Return the linear combinations of n tensors of one shape that the coefficients [n, n] name."""
    rows = torch.stack([vector.detach().flatten() for vector in vectors])
    mixed = coefficients.to(rows) @ rows
    return [row.view_as(vector) for row, vector in zip(mixed, vectors, strict=True)]


def sign_consensus(vectors: Sequence[Tensor], minority_scale: float) -> list[Tensor]:
    """Scale every coordinate whose sign differs from the sign of the coordinate's sum over the models.

    Args:
        vectors: n updates of one shape.
        minority_scale: Factor of the minority coordinates; 0 removes them.
    """
    rows = torch.stack(list(vectors))
    elected = rows.sum(dim=0, keepdim=True)
    return list(torch.where(rows * elected < 0, rows * minority_scale, rows))
