from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.models.logistic import Linear, fit_logistic, zeros

CLASSES = 3


def samples(seed: int = 0, n: int = 30, d: int = 4) -> tuple[Tensor, Tensor]:
    """Return overlapping classes, of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0] * 14 + [1] * 10 + [2] * 6)[:n]
    centers = 1.5 * torch.randn(CLASSES, d, generator=generator, dtype=torch.float64)
    return centers[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64), labels


def fitted(strength: float, start: Linear | None = None) -> Linear:
    x, y = samples()
    shares = torch.full((len(y),), 1 / len(y), dtype=torch.float64)
    return fit_logistic(x, y, shares, 1 / (strength * len(y)), start or zeros(x, CLASSES, bias=True))


def gradient(found: Linear, strength: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gradient of scikit-learn's objective, C sum CE + |W|^2 / 2, image by image."""
    assert found.bias is not None
    weight, bias = found.weight.numpy(), found.bias.numpy()
    x, y = samples()
    by_weight, by_bias = weight.copy(), np.zeros_like(bias)
    for row, label in zip(x.numpy(), y.tolist(), strict=True):
        scores = weight @ row + bias
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        shares[label] -= 1
        by_weight += strength * np.outer(shares, row)
        by_bias += strength * shares
    return by_weight, by_bias


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e2])
def test_is_where_the_gradient_of_scikit_learns_objective_vanishes(strength: float) -> None:
    found = fitted(strength)
    by_weight, by_bias = gradient(found, strength)
    assert max(np.abs(by_weight).max(), np.abs(by_bias).max()) < 1e-3 * strength
    moved, _ = gradient(Linear(found.weight * 1.01, found.bias), strength)
    assert np.abs(moved).max() > 1e-2 * strength


def test_a_minimum_by_hand() -> None:
    # Images at 1 and -1, weights (w, -w): log(1 + e^(-2w)) + lambda w^2, with the slope 2 lambda - 2 / (1 + e^2) at 1.
    x, y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([0, 1])
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64)
    found = fit_logistic(x, y, shares, 1 / (1 + math.exp(2)), zeros(x, 2, bias=True))
    torch.testing.assert_close(found.weight, torch.tensor([[1.0], [-1.0]], dtype=torch.float64), rtol=0, atol=1e-6)
    assert found.bias is not None
    torch.testing.assert_close(found.bias, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_bias_is_not_penalized_and_gives_the_frequencies_where_features_say_nothing() -> None:
    x, y = torch.zeros(8, 2, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    shares = torch.full((8,), 1 / 8, dtype=torch.float64)
    found = fit_logistic(x, y, shares, 1e3, zeros(x, 3, bias=True))
    assert not found.weight.any()
    assert found.bias is not None
    wanted = torch.tensor([5 / 8, 2 / 8, 1 / 8], dtype=torch.float64)
    torch.testing.assert_close(found.bias.softmax(0), wanted, rtol=0, atol=1e-6)


def test_where_the_search_begins_does_not_matter_and_the_start_is_not_changed() -> None:
    start = fitted(1e-3)
    before = start.weight.clone()
    warm, cold = fitted(1.0, start), fitted(1.0)
    torch.testing.assert_close(warm.weight, cold.weight, rtol=1e-4, atol=1e-6)
    assert torch.equal(start.weight, before)
    assert not warm.weight.requires_grad


def test_without_a_bias_there_is_none() -> None:
    x, y = samples()
    shares = torch.full((len(y),), 1 / len(y), dtype=torch.float64)
    found = fit_logistic(x, y, shares, 0.1, zeros(x, CLASSES, bias=False))
    assert found.bias is None
    assert torch.equal(found.scores(x), x @ found.weight.T)
