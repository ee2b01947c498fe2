from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hamdg.cohort.alignment import mmd

# DomainBed's.
GAMMAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def slow(first: Tensor, second: Tensor) -> float:
    """DomainBed's `mmd` with Gaussian kernels, pair by pair."""

    def kernel(a: Tensor, b: Tensor) -> float:
        pairs = [(x, y) for x in a for y in b]
        values = [sum(math.exp(-gamma * float((x - y).square().sum())) for gamma in GAMMAS) for x, y in pairs]
        return sum(values) / len(pairs)

    return kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)


@pytest.mark.parametrize(("n", "m", "d"), [(4, 4, 3), (5, 2, 8)])
def test_equals_the_slow_reference(n: int, m: int, d: int) -> None:
    generator = torch.Generator().manual_seed(n)
    first, second = (torch.randn(count, d, generator=generator, dtype=torch.float64) for count in (n, m))
    assert float(mmd(first, second)) == pytest.approx(slow(first, second), rel=1e-9)


def test_two_points_by_hand() -> None:
    # One sample each, at distance 1: 7 + 7 - 2 sum exp(-gamma).
    expected = 14 - 2 * sum(math.exp(-gamma) for gamma in GAMMAS)
    assert float(mmd(torch.tensor([[0.0]]), torch.tensor([[1.0]]))) == pytest.approx(expected, rel=1e-6)


def test_equal_samples_cost_nothing_and_gradients_are_finite() -> None:
    one = torch.randn(6, 4, requires_grad=True)
    value = mmd(one, one.detach().clone())
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    torch.autograd.backward(value)
    assert one.grad is not None
    assert bool(one.grad.isfinite().all())
