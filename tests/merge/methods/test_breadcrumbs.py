from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, State, random_state, zeros


def reference(
    changes: dict[str, State], scope: str, beta: float, gamma: float, weights: dict[str, float]
) -> dict[str, list[float]]:
    shapes = {name: tuple(tensor.shape) for name, tensor in next(iter(changes.values())).items()}
    pools = []
    for name, shape in sorted(shapes.items()):
        size = math.prod(shape)
        if size == 0:
            continue
        length = size // shape[0] if scope == "row" and len(shape) > 1 else size
        pools += [[(name, i) for i in range(start, start + length)] for start in range(0, size, length)]
    if scope == "global":
        pools = [[entry for pool in pools for entry in pool]]
    merged = {name: [0.0] * math.prod(shape) for name, shape in shapes.items()}
    for source, change in changes.items():
        flat = {name: tensor.flatten().tolist() for name, tensor in change.items()}
        for pool in pools:
            ranked = sorted(pool, key=lambda e: (-abs(flat[e[0]][e[1]]), e))
            larger = max(1, len(pool) - round(beta * len(pool)))
            outliers = min(len(pool) - round(gamma * len(pool)), larger - 1)
            stays = ranked[outliers:larger]
            for name, i in stays:
                merged[name][i] += weights[source] * flat[name][i]
    return merged


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
@pytest.mark.parametrize(("beta", "gamma"), [(0.85, 0.993), (0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.3, 0.8)])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 0.0, -0.5)])
def test_equals_the_slow_reference(scope: str, beta: float, gamma: float, weights: tuple[float, ...]) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    factors = dict(zip("abc", weights, strict=True))
    options: dict[str, object] = {"scope": scope, "beta": beta, "gamma": gamma, "scale": 0.7}
    merged = merge_with("breadcrumbs", models, zeros(models["a"]), options, MergeSettings(weights=factors))
    expected = reference(models, scope, beta, gamma, factors)
    for name, tensor in merged.items():
        assert tensor.shape == SHAPES[name]
        assert tensor.flatten().tolist() == pytest.approx([0.7 * x for x in expected[name]], abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.lists(st.integers(-2, 2).map(float), min_size=10, max_size=10), min_size=1, max_size=3),
    edges=st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda e: e[0] < e[1]),
    scope=st.sampled_from(["tensor", "global", "row"]),
)
def test_ties_are_broken_as_in_the_slow_reference(rows: list[list[float]], edges: tuple[int, int], scope: str) -> None:
    rows[0][0] = rows[0][6] = 3.0
    models = {
        source: {"m": torch.tensor(row[:6]).view(2, 3), "v": torch.tensor(row[6:])}
        for source, row in zip("abc", rows, strict=False)
    }
    beta, gamma = edges[0] / 10, edges[1] / 10
    base = {"m": torch.zeros(2, 3), "v": torch.zeros(4)}
    merged = merge("breadcrumbs", models, base, scope=scope, beta=beta, gamma=gamma, scale=1)
    expected = reference(models, scope, beta, gamma, dict.fromkeys(models, 1.0))
    assert {name: tensor.flatten().tolist() for name, tensor in merged.items()} == expected


def test_by_hand() -> None:
    # Magnitudes 10 to 1: beta .3 drops 1, 2 and 3, gamma .8 drops 9 and 10.
    change = torch.tensor([10.0, -9, 8, -7, 6, -5, 4, -3, 2, -1])
    base = {"w": torch.zeros(10)}
    merged = merge("breadcrumbs", {"a": {"w": change}}, base, beta=0.3, gamma=0.8, scale=1)
    assert merged["w"].tolist() == [0, 0, 8, -7, 6, -5, 4, 0, 0, 0]
    # By rows of five: 3 = 5 - round(1.5) are larger, 1 = 5 - round(4) an outlier.
    options: dict[str, object] = {"beta": 0.3, "gamma": 0.8, "scale": 1, "scope": "row"}
    merged = merge_with("breadcrumbs", {"a": {"w": change.view(2, 5)}}, {"w": torch.zeros(2, 5)}, options)
    assert merged["w"].tolist() == [[0, -9, 8, 0, 0], [0, 4, -3, 0, 0]]


def test_the_default_keeps_the_published_share() -> None:
    change = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    merged = merge("breadcrumbs", {"a": {"w": change}}, {"w": torch.zeros(100, 100)})["w"]
    kept = merged != 0
    assert int(kept.sum()) == 10_000 - 8500 - 70
    torch.testing.assert_close(merged[kept], 0.3 * change[kept])
    order = change.abs().flatten().sort().values
    assert float(change[kept].abs().min()) == float(order[8500])
    assert float(change[kept].abs().max()) == float(order[9929])


def test_no_outlier_removal_keeps_the_largest() -> None:
    change = torch.arange(1.0, 11.0)
    merged = merge("breadcrumbs", {"a": {"w": change}}, {"w": torch.zeros(10)}, beta=0.8, gamma=1.0, scale=1)
    assert merged["w"].tolist() == [0.0] * 8 + [9.0, 10.0]


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_all_between_is_task_arithmetic(scope: str) -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, random_state(9)
    merged = merge("breadcrumbs", models, base, {"a": 1, "b": 2, "c": 3}, beta=0, gamma=1, scope=scope)
    expected = merge("task_arithmetic", models, base, {"a": 1, "b": 2, "c": 3})
    for name in base:
        torch.testing.assert_close(merged[name], expected[name])


@pytest.mark.parametrize("scope", ["tensor", "row"])
@pytest.mark.parametrize(("beta", "gamma"), [(0.85, 0.993), (0.2, 0.4), (0.0, 0.1), (0.6, 1.0)])
def test_the_smallest_tensors_keep_an_entry(scope: str, beta: float, gamma: float) -> None:
    state = {"one": torch.tensor([2.0]), "scalar": torch.tensor(-3.0), "two": torch.tensor([1.0, 5.0])}
    merged = merge("breadcrumbs", {"a": state}, zeros(state), beta=beta, gamma=gamma, scope=scope, scale=1)
    assert merged["one"].tolist() == [2.0]
    assert merged["scalar"].item() == -3.0
    assert int((merged["two"] != 0).sum()) >= 1


def test_small_tensors_may_round_to_no_outliers() -> None:
    for size, outliers in ((71, 0), (72, 1)):
        change = torch.arange(1.0, size + 1)
        merged = merge("breadcrumbs", {"a": {"w": change}}, {"w": torch.zeros(size)}, scale=1)["w"]
        assert float(merged.max()) == size - outliers


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_laws(scope: str) -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, random_state(9)
    options: dict[str, object] = {"scope": scope, "beta": 0.3, "gamma": 0.9}

    def run(sources: dict[str, State], threads: int = 1, scale: float = 1.0) -> State:
        return merge_with("breadcrumbs", sources, base, {**options, "scale": scale}, MergeSettings(threads=threads))

    merged, again = run(models), run(dict(reversed(models.items())), threads=3)
    one, equal = run({"a": models["a"]}), run(dict.fromkeys("xyz", models["a"]), scale=1 / 3)
    doubled = run({s: {n: base[n] + 2 * (m[n] - base[n]) for n in base} for s, m in models.items()})
    still = run(dict.fromkeys("ab", base))
    for name in base:
        assert torch.equal(merged[name], again[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(one[name], equal[name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_large_tensors_are_put_together_from_their_pieces(scope: str) -> None:
    change = torch.randint(-99, 100, (401, 701), generator=torch.Generator().manual_seed(0)).float()
    merged = merge("breadcrumbs", {"a": {"w": change}}, {"w": torch.zeros(401, 701)}, scale=1, scope=scope)["w"]
    table = change if scope == "row" else change.view(1, -1)
    length = table.shape[1]
    order = torch.sort(table.abs(), dim=1, descending=True, stable=True).indices
    between = order[:, length - round(0.993 * length) : length - round(0.85 * length)]
    mask = torch.zeros_like(table).scatter_(1, between, 1.0)
    assert torch.equal(merged, (table * mask).view(401, 701))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype) -> None:
    base = {**zeros(random_state(9, dtype)), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**random_state(i, dtype), "none": base["none"]} for i, source in enumerate("abc")}
    merged = merge("breadcrumbs", models, base, beta=0.4)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("breadcrumbs", wide, {n: t.double() for n, t in base.items()}, beta=0.4)
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.5}, "Expected argument `beta` to be a number between 0 and 1, but got `1.5`."),
        (
            {"beta": 0.9, "gamma": 0.85},
            "Expected argument `beta` to be below `gamma`, or nothing is left, but got `0.9` and `0.85`.",
        ),
        ({"scope": "layer"}, "Expected argument `scope` to be one of `tensor`, `global`, `row`, but got `'layer'`."),
        ({"keep": 0.9}, "Merge method `breadcrumbs` has no option `keep`; known are `beta`, `gamma`, "),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        merge_with("breadcrumbs", {"a": random_state(1)}, random_state(0), options)
