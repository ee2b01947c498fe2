"""Means of several held-out domains, and their errors against many draws."""

from __future__ import annotations

import pytest
import torch

from hamdg.runs.averages import Average, average, average_error, combined_error


@pytest.mark.parametrize(("values", "mean"), [((58.8, 54.0), 56.3), ((67.0, 55.6), 60.8), ((0.5, 0.0), 0.0)])
def test_the_harmonic_mean_is_that_of_published_tables(values: tuple[float, ...], mean: float) -> None:
    assert average(values, "harmonic") == pytest.approx(mean, abs=0.05)
    assert average(values, "arithmetic") == sum(values) / 2


@pytest.mark.parametrize("kind", ["arithmetic", "harmonic"])
def test_the_error_of_a_mean_is_that_of_many_draws(kind: Average) -> None:
    # One domain has fewer images than the others, and counts as much.
    shares, counts = (0.8, 0.3, 0.5), (400, 150, 3000)
    draw = torch.Generator().manual_seed(0)
    seen = [
        torch.binomial(torch.full((20_000,), float(n)), torch.full((20_000,), p), generator=draw) / n
        for p, n in zip(shares, counts, strict=True)
    ]
    means = {"arithmetic": torch.stack(seen).mean(0), "harmonic": 3 / torch.stack(seen).reciprocal().sum(0)}
    assert average_error(shares, counts, kind) == pytest.approx(float(means[kind].std()), rel=0.03)


def test_the_error_of_one_domain_is_the_binomial_one_and_of_a_mean_that_is_0_none() -> None:
    assert average_error((0.6,), (50,), "arithmetic") == pytest.approx((0.24 / 50) ** 0.5)
    assert average_error((0.0, 0.4), (50, 50), "harmonic") == 0


def test_errors_of_their_own_are_combined() -> None:
    assert combined_error((0.5, 0.5), (0.03, 0.04), "arithmetic") == pytest.approx(0.025)
    # Where all are equal, the two means move alike.
    assert combined_error((0.5, 0.5), (0.03, 0.04), "harmonic") == pytest.approx(0.025)
    draw = torch.Generator().manual_seed(1)
    seen = torch.tensor([0.3, 0.6]) + torch.tensor([0.01, 0.02]) * torch.randn(50_000, 2, generator=draw)
    spread = float((2 / seen.reciprocal().sum(1)).std())
    assert combined_error((0.3, 0.6), (0.01, 0.02), "harmonic") == pytest.approx(spread, rel=0.02)
