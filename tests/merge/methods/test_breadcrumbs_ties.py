from __future__ import annotations

import math

import pytest
import torch

from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, random_state, zeros


def trimmed(change: list[float], beta: float, gamma: float) -> list[float]:
    """Keep what is neither among the smallest nor among the largest, one entry at least."""
    ranked = sorted(range(len(change)), key=lambda i: (-abs(change[i]), i))
    larger = max(1, len(change) - round(beta * len(change)))
    outliers = min(len(change) - round(gamma * len(change)), larger - 1)
    return [value if i in ranked[outliers:larger] else 0.0 for i, value in enumerate(change)]


def voted(values: list[float], weights: list[float], sign: str, combine: str) -> float:
    """Elect a sign for one entry and merge what agrees with it."""
    weighted = [weight * value for weight, value in zip(weights, values, strict=True)]
    signs = [math.copysign(1, value) if value else 0.0 for value in weighted]
    votes = weighted if sign == "mass" else [abs(weight) * s for weight, s in zip(weights, signs, strict=True)]
    total = sum(votes)
    agreeing = [i for i, s in enumerate(signs) if s * total > 0]
    merged = sum(weighted[i] for i in agreeing)
    return merged / sum(abs(weights[i]) for i in agreeing) if combine == "mean" and agreeing else merged


@pytest.mark.parametrize(("beta", "gamma"), [(0.85, 0.993), (0.0, 1.0), (0.5, 1.0), (0.3, 0.8)])
@pytest.mark.parametrize(("sign", "combine"), [("mass", "sum"), ("count", "mean")])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 0.0, -0.5)])
def test_equals_the_slow_reference(
    beta: float, gamma: float, sign: str, combine: str, weights: tuple[float, ...]
) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    factors = dict(zip("abc", weights, strict=True))
    options: dict[str, object] = {"beta": beta, "gamma": gamma, "sign": sign, "combine": combine, "scale": 0.7}
    merged = merge_with("breadcrumbs_ties", models, zeros(models["a"]), options, MergeSettings(weights=factors))
    for name, tensor in merged.items():
        kept = [trimmed(models[source][name].flatten().tolist(), beta, gamma) for source in "abc"]
        entries = [voted(list(values), list(weights), sign, combine) for values in zip(*kept, strict=True)]
        assert tensor.shape == SHAPES[name]
        assert tensor.flatten().tolist() == pytest.approx([0.7 * entry for entry in entries], abs=1e-12)


def test_by_hand() -> None:
    # Of each the largest and the two smallest go: a keeps 3 and -2 at the first two places, b -4 and 5.
    a, b = torch.tensor([3.0, -2.0, 9.0, 1.0, 0.5]), torch.tensor([-4.0, 5.0, 2.0, 1.0, 8.0])
    base = {"w": torch.zeros(5)}
    merged = merge("breadcrumbs_ties", {"a": {"w": a}, "b": {"w": b}}, base, beta=0.4, gamma=0.8)
    assert merged["w"].tolist() == [-4.0, 5.0, 0.0, 0.0, 0.0]
    merged = merge("breadcrumbs_ties", {"a": {"w": a}, "b": {"w": b}}, base, {"a": 2, "b": 1}, beta=0.4, gamma=0.8)
    assert merged["w"].tolist() == [6.0, 5.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_one_source_is_that_of_breadcrumbs(scope: str) -> None:
    base, models = random_state(9), {"a": random_state(1)}
    found = merge("breadcrumbs_ties", models, base, scope=scope, beta=0.3, gamma=0.9)
    expected = merge("breadcrumbs", models, base, scope=scope, beta=0.3, gamma=0.9, scale=1.0)
    for name in base:
        torch.testing.assert_close(found[name], expected[name])
