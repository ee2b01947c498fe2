from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, State, Vector, random_state


def distance(a: Vector, b: Vector) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def mean(points: list[Vector], weights: Vector) -> Vector:
    total = sum(weights)
    return [sum(w * p[k] for w, p in zip(weights, points, strict=True)) / total for k in range(len(points[0]))]


def reference(points: list[Vector], weights: Vector, iterations: int) -> Vector:
    """Weiszfeld's iterations as published, with distances floored at a millionth."""
    at = mean(points, weights)
    for _ in range(iterations):
        pulls = [w / max(1e-6, distance(p, at)) for w, p in zip(weights, points, strict=True)]
        at = mean(points, pulls)
    return at


def medians(rows: list[Vector], weights: Vector | None = None, **options: object) -> Vector:
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, row in enumerate(rows)}
    given_weights = None if weights is None else dict(zip(models, weights, strict=True))
    found: Vector = merge_with("geometric_median", models, None, options, MergeSettings(given_weights))["w"].tolist()
    return found


@pytest.mark.parametrize("iterations", [0, 1, 7])
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 1.5, "c": 0.7, "d": 1.2}])
def test_equals_the_slow_reference(iterations: int, scope: str, weights: dict[str, float] | None) -> None:
    models = {s: random_state(i + 1) for i, s in enumerate("abcd")}
    options: dict[str, object] = {"max_iterations": iterations, "scope": scope}
    merged = merge_with("geometric_median", models, None, options, MergeSettings(weights))
    plain = list((weights or dict.fromkeys("abcd", 1.0)).values())
    points = {n: [m[n].flatten().tolist() for m in models.values()] for n in SHAPES}
    whole = reference([[x for n in SHAPES for x in points[n][i]] for i in range(4)], plain, iterations)
    start = 0
    for name in SHAPES:
        size = merged[name].numel()
        expected = whole[start : start + size]
        start += size
        if scope == "tensor" and size == 1:
            # On a line the iterations run into a source, where the published ones stick.
            continue
        if scope == "tensor" and size:
            expected = reference(points[name], plain, iterations)
        assert merged[name].flatten().tolist() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0.2, 4),
)
def test_no_point_nearby_is_nearer_to_all(rows: list[Vector], heavy: float) -> None:
    weights = [heavy] + [1.0] * (len(rows) - 1)
    found = medians(rows, weights, max_iterations=20000)

    def total(at: Vector) -> float:
        return sum(w * distance(p, at) for w, p in zip(weights, rows, strict=True))

    assert all(total(found) <= total(p) + 1e-6 for p in rows), "a source is nearer to all"
    for k in range(3):
        for step in (-1e-3, 1e-3):
            nearby = [x + step * (i == k) for i, x in enumerate(found)]
            assert total(found) <= total(nearby) + 1e-6


@pytest.mark.parametrize(
    ("rows", "weights", "expected"),
    [
        # Fermat's point sees all sides under 120 degrees: 1 / sqrt 3 above the base of this triangle.
        ([[-1, 0], [1, 0], [0, 2]], None, [0, 1 / math.sqrt(3)]),
        # An angle above 120 degrees: the corner itself.
        ([[-1, 0], [1, 0], [0, 0.1]], None, [0, 0.1]),
        ([[-1, 0], [1, 0], [0, -0.5], [0, 2]], None, [0, 0]),
        # On a line it is the middle one.
        ([[0], [1], [10]], None, [1]),
        ([[0, 5], [1, 5], [10, 5], [11, 5], [70, 5]], None, [10, 5]),
        # Between two any point is a median, the mean among them; weights decide.
        ([[0, 0], [2, 4]], None, [1, 2]),
        ([[0, 0], [2, 4]], [2, 1], [0, 0]),
        # More than half of the weight in one place.
        ([[1, 1], [1, 1], [1, 1], [8, -3], [40, 2]], None, [1, 1]),
        ([[3, 4]], None, [3, 4]),
    ],
)
def test_by_hand(rows: list[Vector], weights: Vector | None, expected: Vector) -> None:
    assert medians(rows, weights, max_iterations=20000) == pytest.approx(expected, abs=1e-4)


def test_iterations_go_on_from_a_source_that_is_no_median() -> None:
    # The mean, where iterations begin, is the first source: the others pull by about 4, it holds by 1.
    rows = [[0.0, 0.0], [10.0, 0.0], [-2.0, 0.2], [-2.0, -0.2], [-2.0, 0.1], [-2.0, -0.1], [-2.0, 0.0]]
    assert mean(rows, [1.0] * 7) == [0.0, 0.0]
    found = medians(rows, max_iterations=20000)
    # At d to the right of x = -2 the first two pull by 2. Back pull the one at -2 by 1 and the four above and below by
    # 2 d / sqrt(d^2 + .2^2) + 2 d / sqrt(d^2 + .1^2), which is 1 at d = .034793 (by bisection).
    assert found == pytest.approx([-2 + 0.034793, 0], abs=1e-5)


def test_one_step_from_a_source_by_hand() -> None:
    # At 0, the mean, 6 pulls by 1 and the three at -2 by 3: together by 2, held by 1. The mean of the others by their
    # pulls is (6 / 6 - 3) / (1 / 6 + 3 / 2) = -1.2; half of the way is gone.
    assert medians([[0], [6], [-2], [-2], [-2]], max_iterations=1) == pytest.approx([-0.6])


def test_an_outlier_hardly_moves_it() -> None:
    models = {s: random_state(i + 1) for i, s in enumerate("abcd")}
    spoilt = models | {"d": {n: 1000 * x for n, x in models["d"].items()}}
    middle, moved = merge("geometric_median", models), merge("geometric_median", spoilt)
    step = math.sqrt(sum(float((moved[n] - middle[n]).square().sum()) for n in SHAPES))
    average = merge("uniform", spoilt)
    assert step < 10 < math.sqrt(sum(float((average[n] - middle[n]).square().sum()) for n in SHAPES))


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_laws(scope: str) -> None:
    models = {s: random_state(i + 1) for i, s in enumerate("abcd")}

    def run(sources: dict[str, State], threads: int = 1) -> State:
        return merge("geometric_median", sources, scope=scope, threads=threads)

    merged, backwards, one = run(models), run(dict(reversed(models.items())), 2), run({"a": models["a"]})
    equal = run({"a": models["a"], "b": models["a"]})
    # Close together and far from the origin.
    moved = run({s: {n: 1e-8 * x + 5 for n, x in m.items()} for s, m in models.items()})
    for name in SHAPES:
        assert torch.equal(merged[name], backwards[name])
        assert torch.equal(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["a"][name])
        torch.testing.assert_close(1e8 * (moved[name] - 5), merged[name], rtol=0, atol=1e-5)


def test_models_that_hardly_differ_are_told_apart_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(200_000, generator=generator)
    steps = [1e-4 * torch.randn(200_000, generator=generator) for _ in range(4)]
    models = {"abcd"[i]: {"w": start + step} for i, step in enumerate(steps)}
    exact = {s: {"w": m["w"].double()} for s, m in models.items()}
    merged = merge("geometric_median", models)["w"].double()
    wide = merge("geometric_median", exact)["w"]
    # Far more exact than the models differ, up to the rounding of the result.
    assert float((merged - wide).abs().max()) < 1e-6
    outlier = models | {"d": {"w": start + 1000 * steps[3]}}
    assert float((merge("geometric_median", outlier)["w"] - start).norm()) < 0.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {s: random_state(i + 1, dtype) for i, s in enumerate("abc")}
    wide = merge("geometric_median", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()})
    for name, tensor in merge("geometric_median", models).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"eps": 0.0}, None, "Expected argument `eps` to be a number above 0 and at most 0.1, but got `0.0`."),
        ({"max_iterations": 1.5}, None, "Expected argument `max_iterations` to be an integer of at least 0"),
        ({"scope": "row"}, None, "Expected argument `scope` to be one of `tensor`, `global`"),
        (
            {},
            {"a": 2.0, "b": -1.0},
            "Merge method `geometric_median` takes no negative weights, but that of `b` is -1.0; give one of zero or",
        ),
    ],
)
def test_bad_options_are_named(options: dict[str, object], weights: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with(
            "geometric_median", {"a": random_state(1), "b": random_state(2)}, None, options, MergeSettings(weights)
        )
