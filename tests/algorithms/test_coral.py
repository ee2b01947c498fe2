from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.coral import coral
from hamdg.config.reading import read_recipe
from hamdg.errors import ConfigError
from hamdg.stages import pipeline
from tests.stages.conftest import tiny_arguments


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


def test_batches_of_one_image_have_no_covariance(tmp_path: Path) -> None:
    own = ("--algorithm=coral", "--data.batch_size=1", "--controls.erm=false", "--runtime.quiet=true")
    message = (
        r"^`data\.batch_size` is 1, but `coral` compares covariances of the domains' features, which need at least 2 "
        r"images of each; raise it\.$"
    )
    with pytest.raises(ConfigError, match=message):
        pipeline.run(read_recipe(None, [*tiny_arguments(tmp_path / "runs", "vit"), *own]))
    assert not (tmp_path / "runs").exists()
    # Of one domain nothing is compared.
    alone = read_recipe(None, [*tiny_arguments(tmp_path / "runs", "vit"), *own, "--excluded=[art, cartoon]"])
    pipeline.dry_run(alone)
