from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import State, Vector, random_state


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def reference(vectors: list[Vector], weights: Vector, iterations: int, tolerance: float = 1e-5) -> Vector:
    """Karcher's mean with the vectors themselves, component by component."""
    shares = [w / sum(weights) for w in weights]
    lengths = [math.sqrt(dot(v, v)) for v in vectors]
    known = [(w, [x / n for x in v]) for w, v, n in zip(shares, vectors, lengths, strict=True) if n > 0]
    total = sum(w for w, _ in known)
    mean = [sum(w / total * u[k] for w, u in known) for k in range(len(vectors[0]))]
    size = math.sqrt(dot(mean, mean))
    if size < tolerance:
        return [sum(w * v[k] for w, v in zip(shares, vectors, strict=True)) for k in range(len(vectors[0]))]
    mean = [x / size for x in mean]
    for _ in range(iterations):
        tangent = [0.0] * len(mean)
        for weight, unit in known:
            cosine = max(-1.0, min(1.0, dot(unit, mean)))
            angle = math.acos(cosine)
            if math.sin(angle) > 1e-9:
                factor = weight / total * angle / math.sin(angle)
                tangent = [t + factor * (u - cosine * m) for t, u, m in zip(tangent, unit, mean, strict=True)]
        step = math.sqrt(dot(tangent, tangent))
        if step < tolerance:
            break
        mean = [math.cos(step) * m + math.sin(step) * t / step for m, t in zip(mean, tangent, strict=True)]
    return [dot(shares, lengths) * m for m in mean]


@pytest.mark.parametrize("iterations", [0, 1, 10])
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("space", ["weights", "changes"])
@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 2.0, "c": 0.5}])
def test_equals_the_slow_reference(iterations: int, scope: str, space: str, weights: dict[str, float] | None) -> None:
    base = random_state(0)
    models = {s: random_state(i + 1, shift=0.5) for i, s in enumerate("abc")}
    options: dict[str, object] = {"max_iterations": iterations, "scope": scope, "space": space}
    merged = merge_with("karcher", models, base, options, MergeSettings(weights))
    origin = base if space == "changes" else {n: torch.zeros_like(x) for n, x in base.items()}
    plain = list((weights or dict.fromkeys("abc", 1.0)).values())
    vectors = {n: [(m[n] - origin[n]).flatten().tolist() for m in models.values()] for n in base}
    whole = reference([[x for n in base for x in vectors[n][i]] for i in range(3)], plain, iterations)
    start = 0
    for name in base:
        size = base[name].numel()
        expected = whole[start : start + size] if scope == "global" else reference(vectors[name], plain, iterations)
        start += size
        assert (merged[name] - origin[name]).flatten().tolist() == pytest.approx(expected[:size], abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=2, max_size=5), st.floats(0.1, 3))
def test_no_direction_nearby_is_nearer_to_all(rows: list[Vector], heavy: float) -> None:
    vectors = torch.tensor(rows, dtype=torch.float64) + torch.tensor([3.0, 0.0, 0.0, 0.0])
    models = {f"s{i}": {"w": vector} for i, vector in enumerate(vectors)}
    weights = {source: heavy if source == "s0" else 1.0 for source in models}
    assume(bool((vectors.norm(dim=1) > 0.1).all()))
    merged = merge_with("karcher", models, None, {"max_iterations": 200, "tolerance": 1e-7}, MergeSettings(weights))[
        "w"
    ]
    shares = torch.tensor([weights[s] for s in models], dtype=torch.float64)
    shares /= shares.sum()
    assert float(merged.norm()) == pytest.approx(float((shares * vectors.norm(dim=1)).sum()))

    def spread(direction: Tensor) -> float:
        cosines = torch.nn.functional.cosine_similarity(vectors, direction[None], dim=1).clamp(-1, 1)
        return float((shares * cosines.acos().square()).sum())

    for axis in torch.eye(4, dtype=torch.float64):
        for sign in (-1, 1):
            assert spread(merged) <= spread(merged / merged.norm() + sign * 1e-3 * axis) + 1e-9


@pytest.mark.parametrize(
    ("rows", "weights", "expected"),
    [
        # Lengths 1 and 3 at a right angle: half-way, of length 2.
        ([[1, 0], [0, 3]], None, [math.sqrt(2), math.sqrt(2)]),
        # A third of the way from the first, whose weight is double: 30 degrees, of length 1.
        ([[1, 0], [0, 1]], [2, 1], [math.sqrt(0.75), 0.5]),
        ([[1, 0, 0], [0, 2, 0], [0, 0, 3]], None, [2 / math.sqrt(3)] * 3),
        # One direction: the mean of the lengths.
        ([[3, 4], [6, 8]], None, [4.5, 6]),
        # Opposite ones cancel out: the plain average.
        ([[1, 0], [-3, 0]], None, [-1, 0]),
        ([[1], [-3]], None, [-1]),
        # Two against one: their direction, the mean of all lengths.
        ([[1], [-3], [2]], None, [2]),
        ([[1], [-3]], [1, 3], [-2.5]),
        # No direction, but a length of zero.
        ([[0, 0], [2, 0]], None, [1, 0]),
        ([[0, 0], [2, 0]], [3, 1], [0.5, 0]),
    ],
)
def test_by_hand(rows: list[Vector], weights: Vector | None, expected: Vector) -> None:
    models = {f"s{i}": {"w": torch.tensor(row).double()} for i, row in enumerate(rows)}
    given_weights = None if weights is None else dict(zip(models, weights, strict=True))
    merged = merge_with("karcher", models, None, {}, MergeSettings(given_weights))["w"]
    assert merged.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("iterations", [1, 10])
def test_a_model_without_direction_counts_in_the_length_only(iterations: int) -> None:
    rows = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 1.0, 4.0]]
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, row in enumerate(rows)}
    merged = merge("karcher", models, max_iterations=iterations)["w"]
    assert merged.tolist() == pytest.approx(reference(rows, [1.0] * 4, iterations))


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("space", ["weights", "changes"])
def test_laws(scope: str, space: str) -> None:
    base = random_state(0)
    models = {s: random_state(i + 1) for i, s in enumerate("abc")}
    origin = base if space == "changes" else {n: torch.zeros_like(x) for n, x in base.items()}

    def run(sources: dict[str, State], threads: int = 1) -> State:
        return merge("karcher", sources, base, scope=scope, space=space, threads=threads)

    merged, backwards, one = run(models), run(dict(reversed(models.items())), 2), run({"a": models["a"]})
    equal = run({"a": models["a"], "b": models["a"]})
    longer = run({s: {n: origin[n] + 3 * (m[n] - origin[n]) for n in m} for s, m in models.items()})
    for name in base:
        assert torch.equal(merged[name], backwards[name])
        torch.testing.assert_close(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["a"][name])
        torch.testing.assert_close(longer[name] - origin[name], 3 * (merged[name] - origin[name]))


def test_a_source_of_weight_zero_changes_nothing() -> None:
    models = {s: random_state(i + 1) for i, s in enumerate("abc")}
    with_it = merge("karcher", models, weights={"a": 1.0, "b": 2.0, "c": 0.0})
    without = merge("karcher", {s: models[s] for s in "ab"}, weights={"a": 1.0, "b": 2.0})
    for name in with_it:
        torch.testing.assert_close(with_it[name], without[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {s: random_state(i + 1, dtype) for i, s in enumerate("abc")}
    wide = merge("karcher", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()})
    for name, tensor in merge("karcher", models).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"tolerance": 0.0}, None, "Expected argument `tolerance` to be a number above 0, but got `0.0`."),
        ({"max_iterations": -1}, None, "Expected argument `max_iterations` to be an integer of at least 0"),
        ({"scope": "column"}, None, "Expected argument `scope` to be one of `tensor`, `global`"),
        ({"space": "changes"}, None, "are taken from a start model; give it as `base`."),
        (
            {},
            {"a": 2.0, "b": -1.0},
            "Merge method `karcher` takes no negative weights, but that of `b` is -1.0; give one of zero or more.",
        ),
        ({}, {"a": 0.0, "b": 0.0}, "The weights of `a`, `b` sum to zero"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], weights: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("karcher", {"a": random_state(1), "b": random_state(2)}, None, options, MergeSettings(weights))
