from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hamdg.config.probe import ProbeConfig
from hamdg.models.logistic import Linear, fit_logistic, zeros
from hamdg.models.probe import fit_probe, unstandardized


def labeled(x: list[float], y: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(x)[:, None], torch.tensor(y)


# Three of class 0 at -1, one of class 1 at 1: a weak classifier says 0 of all, a strong one tells them apart.
TRAIN = {"a": labeled([-1.0, -1.0], [0, 0]), "b": labeled([-1.0, 1.0], [0, 1])}
HOLDOUT = {"a": labeled([-1.0, -1.0, -1.0], [0, 0, 0]), "b": labeled([1.0], [1])}


def test_the_most_accurate_on_the_hold_out_sets_is_taken_and_of_equals_the_first() -> None:
    probe = fit_probe(TRAIN, HOLDOUT, 2, [1e-4, 10.0, 100.0], standardize=False)
    assert probe.accuracies == {"a": [1.0, 1.0, 1.0], "b": [0.0, 1.0, 1.0]}
    # Domains count alike, however many images they have.
    assert probe.mean == [0.5, 1.0, 1.0]
    assert probe.strength == 10.0
    x = torch.cat([own for own, _ in TRAIN.values()]).double()
    shares = torch.full((4,), 0.25, dtype=torch.float64)
    alone = fit_logistic(x, torch.tensor([0, 0, 0, 1]), shares, 1 / 40, zeros(x, 2, bias=True))
    torch.testing.assert_close(probe.classifier.weight.double(), alone.weight, rtol=1e-2, atol=1e-3)


def test_a_fit_to_standardized_features_comes_out_for_features_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 3
    x = 5 + 3 * (torch.randn(3, 4, generator=generator)[y] + torch.randn(24, 4, generator=generator))
    # One mean and one deviation of all 96 values, not one for each feature.
    mean = float(x.double().sum() / 96)
    deviation = float(((x.double() - mean) ** 2).sum() / 96) ** 0.5
    own = {"a": ((x - mean) / deviation, y)}
    found = fit_probe({"a": (x, y)}, {"a": (x, y)}, 3, [1.0], standardize=True).classifier
    plain = fit_probe(own, own, 3, [1.0], standardize=False).classifier
    torch.testing.assert_close(found.scores(x), plain.scores(own["a"][0]), rtol=0, atol=1e-2)
    other = fit_probe({"a": (x, y)}, {"a": (x, y)}, 3, [1.0], standardize=False).classifier
    assert not torch.allclose(found.scores(x), other.scores(x), atol=0.1)


def test_the_fold_by_hand() -> None:
    # 2 (x - 3) / 4 + 1 = 0.5 x - 0.5
    layer = Linear(torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64))
    weight, bias = unstandardized(layer, 3.0, 4.0)
    assert bias is not None
    assert (weight.tolist(), bias.tolist()) == ([[0.5]], [-0.5])


def test_the_grid_is_sorted_and_by_default_twenty_points_from_1e_7_to_100() -> None:
    assert ProbeConfig(grid=[100, 0.01, 1.0]).strengths == [0.01, 1.0, 100.0]
    own = ProbeConfig().strengths
    assert len(own) == 20
    assert [own[0], own[-1]] == pytest.approx([1e-7, 100])
    assert [later / first for first, later in pairwise(own)] == pytest.approx([10 ** (9 / 19)] * 19)
