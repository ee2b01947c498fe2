from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.coral import coral


def slow(first: Tensor, second: Tensor) -> float:
    """DomainBed's `coral`, entry by entry."""
    total, (n, d), m = 0.0, first.shape, len(second)
    for k in range(d):
        total += float(first[:, k].mean() - second[:, k].mean()) ** 2 / d
    for k in range(d):
        for j in range(d):
            own = sum(float((x[k] - first[:, k].mean()) * (x[j] - first[:, j].mean())) for x in first) / (n - 1)
            other = sum(float((y[k] - second[:, k].mean()) * (y[j] - second[:, j].mean())) for y in second) / (m - 1)
            total += (own - other) ** 2 / d**2
    return total


@pytest.mark.parametrize(("n", "m", "d"), [(4, 4, 3), (7, 3, 2)])
def test_equals_the_slow_reference(n: int, m: int, d: int) -> None:
    generator = torch.Generator().manual_seed(n)
    first, second = (torch.randn(count, d, generator=generator, dtype=torch.float64) for count in (n, m))
    assert float(coral(first, second)) == pytest.approx(slow(first, second), rel=1e-12)


def test_a_number_by_hand() -> None:
    # Means 1 and 3, covariances 2 and 8: (1 - 3)^2 + (2 - 8)^2.
    assert float(coral(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]]))) == pytest.approx(40.0)


def test_equal_moments_cost_nothing_and_the_order_of_domains_does_not_matter() -> None:
    one, other = torch.randn(6, 4), torch.randn(6, 4)
    assert float(coral(one, one.flip(0))) == pytest.approx(0.0, abs=1e-12)
    assert float(coral(one, other)) == pytest.approx(float(coral(other, one)))
