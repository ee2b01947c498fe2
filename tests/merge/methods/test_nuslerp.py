from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, State, Vector, random_state


def between(a: Vector, b: Vector, t: float) -> Vector:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    omega = math.acos(max(-1.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True)) / lengths)))
    if math.sin(omega) < 1e-6:
        return [(1 - t) * x + t * y for x, y in zip(a, b, strict=True)]
    first, second = math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
    return [first * x + second * y for x, y in zip(a, b, strict=True)]


def lines(tensor: Tensor, scope: str) -> list[Vector]:
    """Cut a tensor into the vectors that are interpolated apart."""
    if scope == "tensor" or tensor.dim() < 2:
        return [tensor.flatten().tolist()]
    table: list[Vector] = [row.flatten().tolist() for row in tensor]
    return table if scope == "row" else [list(column) for column in zip(*table, strict=True)]


@pytest.mark.parametrize("weights", [None, {"a": 3.0, "b": 1.0}, {"a": 0.0, "b": 1.0}])
@pytest.mark.parametrize("scope", ["tensor", "row", "column"])
@pytest.mark.parametrize("space", ["weights", "changes"])
def test_two_models_equal_the_slow_reference(weights: dict[str, float] | None, scope: str, space: str) -> None:
    base, first, second = random_state(0), random_state(1), random_state(2)
    options: dict[str, object] = {"scope": scope, "space": space}
    merged = merge_with("nuslerp", {"a": first, "b": second}, base, options, MergeSettings(weights))
    t = 0.5 if weights is None else weights["b"] / sum(weights.values())
    for name in base:
        origin = base[name] if space == "changes" else torch.zeros_like(base[name])
        assert merged[name].shape == base[name].shape
        if merged[name].numel():
            a, b = lines(first[name] - origin, scope), lines(second[name] - origin, scope)
            got = lines(merged[name] - origin, scope)
            for k in range(len(a)):
                assert got[k] == pytest.approx(between(a[k], b[k], t), rel=1e-9, abs=1e-12)


def test_of_whole_models_there_is_one_angle() -> None:
    first, second = random_state(1), random_state(2)
    merged = merge("nuslerp", {"a": first, "b": second}, scope="global")
    a, b = ([x for n in SHAPES for x in m[n].flatten().tolist()] for m in (first, second))
    assert [x for n in SHAPES for x in merged[n].flatten().tolist()] == pytest.approx(between(a, b, 0.5))


def test_two_models_are_those_of_slerp() -> None:
    models = {"a": random_state(1), "b": random_state(2)}
    merged = merge("nuslerp", models, weights={"a": 1.5, "b": 0.5})
    for name, tensor in merge("slerp", models, t=0.25, straight=1.0).items():
        torch.testing.assert_close(merged[name], tensor)


def spherical_mean_factors(vectors: Tensor, shares: Tensor) -> Tensor:
    """The factors of linearly independent directions in their mean on the sphere, found by many small steps."""
    units = vectors / vectors.norm(dim=1, keepdim=True)
    mean = units.sum(0) / units.sum(0).norm()
    for _ in range(3000):
        cosines = units @ mean
        angles = cosines.acos()
        tangent = (shares * angles / angles.sin()) @ (units - cosines[:, None] * mean)
        mean = mean + 0.1 * tangent
        mean = mean / mean.norm()
    found: Tensor = torch.linalg.lstsq(units.T, mean[:, None]).solution[:, 0]
    return found


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("scope", ["tensor", "row", "column"])
def test_more_models_are_mixed_like_their_directions(weights: Vector, scope: str) -> None:
    generator = torch.Generator().manual_seed(5)
    rows, columns = 4, 6
    tables = [torch.rand(rows, columns, generator=generator, dtype=torch.float64) for _ in weights]
    models = {"abc"[i]: {"w": table} for i, table in enumerate(tables)}
    merged = merge_with(
        "nuslerp", models, None, {"scope": scope}, MergeSettings(dict(zip("abc", weights, strict=True)))
    )
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    cut = [torch.tensor(lines(table, scope), dtype=torch.float64) for table in tables]
    got = torch.tensor(lines(merged["w"], scope), dtype=torch.float64)
    for k in range(len(got)):
        vectors = torch.stack([part[k] for part in cut])
        torch.testing.assert_close(got[k], spherical_mean_factors(vectors, shares) @ vectors, rtol=1e-5, atol=1e-6)


def by_hand(rows: list[Vector], weights: Vector | None) -> Vector:
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, row in enumerate(rows)}
    given = None if weights is None else dict(zip(models, weights, strict=True))
    found: Vector = merge_with("nuslerp", models, None, {}, MergeSettings(given))["w"].tolist()
    return found


def test_numbers_by_hand() -> None:
    # t = 1/3 at a right angle: sin 60 and sin 30 degrees, applied to the raw vectors.
    assert by_hand([[2, 0], [0, 1]], [2, 1]) == pytest.approx([math.sqrt(3), 0.5])
    # The mean of three directions at right angles is (1, 1, 1) / sqrt 3: every model times 1 / sqrt 3.
    assert by_hand([[1, 0, 0], [0, 2, 0], [0, 0, 3]], None) == pytest.approx([x / math.sqrt(3) for x in (1, 2, 3)])
    # Collinear, opposite, or without direction: the weighted average.
    assert by_hand([[1, 2], [2, 4]], [1, 3]) == pytest.approx([1.75, 3.5])
    assert by_hand([[1, 2], [2, 4], [3, 6]], None) == pytest.approx([2, 4])
    assert by_hand([[1], [-3]], [1, 3]) == pytest.approx([-2])
    assert by_hand([[0, 0], [2, 4]], None) == pytest.approx([1, 2])
    assert by_hand([[0, 0], [2, 0], [0, 2]], None) == pytest.approx([2 / 3, 2 / 3])
    # Three directions, 120 degrees apart, cancel out.
    half = math.sqrt(3) / 2
    assert by_hand([[1, 0], [-1, 2 * half], [-1.5, -3 * half]], None) == pytest.approx([-0.5, -half / 3])


def test_opposite_scalars_do_not_blow_up() -> None:
    # Their cosine is -1 but for rounding, and the formula divides by its sine.
    assert by_hand([[0.1], [-0.3]], None) == pytest.approx([-0.1])
    assert by_hand([[0.1, 0.7], [-0.3, -2.1]], None) == pytest.approx([-0.1, -0.7])


def test_rows_are_interpolated_apart() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    models = {"a": {"w": first}, "b": {"w": second}}
    half = math.sqrt(0.5)
    # First row at a right angle, second collinear.
    assert merge("nuslerp", models, scope="row")["w"].flatten().tolist() == pytest.approx([half, half, 0, 2])
    # First column has no direction in b; the second, (0, 1) and (1, 3), has cosine 3 / sqrt 10.
    angle = math.acos(3 / math.sqrt(10))
    factor = math.sin(angle / 2) / math.sin(angle)
    assert merge("nuslerp", models, scope="column")["w"].flatten().tolist() == pytest.approx(
        [0.5, factor, 0, 4 * factor]
    )


def test_lines_are_measured_across_pieces_of_large_tensors() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(700, 400, generator=generator) for _ in range(2))
    models = {"a": {"w": first}, "b": {"w": second}}
    by_row, by_column = (merge("nuslerp", models, scope=scope)["w"] for scope in ("row", "column"))
    for k in (0, 327, 328, 699):
        assert by_row[k].tolist() == pytest.approx(between(first[k].tolist(), second[k].tolist(), 0.5), abs=1e-5)
    for k in (0, 399):
        expected = between(first[:, k].tolist(), second[:, k].tolist(), 0.5)
        assert by_column[:, k].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scope", ["tensor", "row", "column", "global"])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_laws(scope: str, names: str) -> None:
    models = {s: random_state(i + 1) for i, s in enumerate(names)}

    def run(sources: dict[str, State], threads: int = 1) -> State:
        return merge("nuslerp", sources, scope=scope, threads=threads)

    merged, backwards, one = run(models), run(dict(reversed(models.items())), 2), run({"a": models["a"]})
    equal, longer = (
        run(dict.fromkeys(names, models["a"])),
        run({s: {n: 3 * x for n, x in m.items()} for s, m in models.items()}),
    )
    for name in SHAPES:
        assert torch.equal(merged[name], backwards[name])
        torch.testing.assert_close(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["a"][name])
        torch.testing.assert_close(longer[name], 3 * merged[name])


@pytest.mark.parametrize("scope", ["tensor", "row", "column", "global"])
def test_a_third_model_of_weight_zero_changes_nothing(scope: str) -> None:
    models = {s: random_state(i + 1) for i, s in enumerate("abc")}
    with_it = merge("nuslerp", models, weights={"a": 1.0, "b": 2.0, "c": 0.0}, scope=scope)
    without = merge("nuslerp", {s: models[s] for s in "ab"}, weights={"a": 1.0, "b": 2.0}, scope=scope)
    for name in with_it:
        # Opposite directions have no middle: of two the average is taken, of more the heavier one's.
        if name not in ("one", "scalar") or scope == "global":
            torch.testing.assert_close(with_it[name], without[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {s: random_state(i + 1, dtype) for i, s in enumerate("abc")}
    wide = merge("nuslerp", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()}, scope="row")
    for name, tensor in merge("nuslerp", models, scope="row").items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"scope": "rows"}, None, "one of `tensor`, `row`, `column`, `global`, but got `'rows'`."),
        ({"space": "changes"}, None, "are taken from a start model; give it as `base`."),
        ({}, {"a": 2.0, "b": -1.0}, "Merge method `nuslerp` takes no negative weights, but that of `b` is -1.0"),
        ({}, {"a": 0.0, "b": 0.0}, "The weights of `a`, `b` sum to zero"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], weights: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with(
            "nuslerp",
            {"a": random_state(1), "b": random_state(2)},
            None,
            options,
            MergeSettings(weights),
        )
