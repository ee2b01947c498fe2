from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import merge, merge_with
from tests.merge.tools import Vector, random_state


def angle(a: Vector, b: Vector) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return math.acos(max(-1.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True)) / lengths)))


def along(a: Vector, b: Vector, omega: float, t: float) -> Vector:
    """SLERP from the formula, or the line for angles that are nearly 0 or 180 degrees."""
    if abs(math.cos(omega)) > 0.9995:
        return [(1 - t) * x + t * y for x, y in zip(a, b, strict=True)]
    first, second = math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
    return [first * x + second * y for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("space", ["weights", "changes"])
def test_equals_the_slow_reference(t: float, scope: str, space: str) -> None:
    base, first, second = random_state(0), random_state(1), random_state(2)
    merged = merge("slerp", {"a": first, "b": second}, base, t=t, scope=scope, space=space)
    origin = base if space == "changes" else {n: torch.zeros_like(x) for n, x in base.items()}
    a = {n: (first[n] - origin[n]).flatten().tolist() for n in base}
    b = {n: (second[n] - origin[n]).flatten().tolist() for n in base}
    whole = angle([x for part in a.values() for x in part], [x for part in b.values() for x in part])
    for name in base:
        if not a[name]:
            assert merged[name].shape == (0, 3)
            continue
        expected = along(a[name], b[name], whole if scope == "global" else angle(a[name], b[name]), t)
        got = (merged[name] - origin[name]).flatten().tolist()
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.floats(0, 1),
)
def test_between_unit_vectors_all_points_are_unit_vectors(a: Vector, b: Vector, t: float) -> None:
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assume(float(x.norm()) > 0.1 and float(y.norm()) > 0.1)
    x, y = x / x.norm(), y / y.norm()
    assume(abs(float(x @ y)) < 0.999)
    merged = merge("slerp", {"a": {"w": x}, "b": {"w": y}}, t=t)["w"]
    assert float(merged.norm()) == pytest.approx(1.0)
    assert float((merged @ x).clamp(-1, 1).acos()) == pytest.approx(t * angle(x.tolist(), y.tolist()), abs=1e-7)


@pytest.mark.parametrize(
    ("a", "b", "options", "expected"),
    [
        # At a right angle: sin 45 degrees for both.
        ([1, 0], [0, 1], {}, [math.sqrt(0.5), math.sqrt(0.5)]),
        # Factors go to the raw vectors.
        ([2, 0], [0, 1], {}, [math.sqrt(2), math.sqrt(0.5)]),
        # A third of the way: sin 60 and sin 30 degrees.
        ([1, 0], [0, 1], {"t": 1 / 3}, [math.sqrt(0.75), 0.5]),
        # At 60 degrees, in the middle: sin 30 / sin 60 = 1 / sqrt 3.
        ([2, 0], [1, math.sqrt(3)], {}, [math.sqrt(3), 1]),
        # Cosine .99995: the line.
        ([1, 0], [1, 0.01], {"t": 0.25}, [1, 0.0025]),
        ([1, 0], [-1, 0.01], {"t": 0.25}, [0.5, 0.0025]),
        ([1, 0], [-1, 0], {}, [0, 0]),
        # Cosine .8, still above the threshold that was asked for.
        ([1, 0], [0.8, 0.6], {"straight": 0.7}, [0.9, 0.3]),
        # No direction, no angle.
        ([0, 0], [3, 4], {}, [1.5, 2]),
        ([1, 0], [0, 1], {"t": 0.0}, [1, 0]),
        ([1, 0], [0, 1], {"t": 1.0}, [0, 1]),
    ],
)
def test_by_hand(a: Vector, b: Vector, options: dict[str, object], expected: Vector) -> None:
    models = {"art": {"w": torch.tensor(a, dtype=torch.float64)}, "photo": {"w": torch.tensor(b, dtype=torch.float64)}}
    assert merge_with("slerp", models, None, options)["w"].tolist() == pytest.approx(expected, abs=1e-12)


def test_the_alphabet_says_which_model_is_first_not_the_order_of_arguments() -> None:
    first, second = random_state(1), random_state(2)
    merged = merge("slerp", {"a": first, "b": second}, t=0.3)
    backwards = merge("slerp", {"b": second, "a": first}, t=0.3, threads=2)
    renamed = merge("slerp", {"a": second, "b": first}, t=0.7)
    for name in first:
        assert torch.equal(merged[name], backwards[name])
        torch.testing.assert_close(merged[name], renamed[name])


@pytest.mark.parametrize("space", ["weights", "changes"])
def test_laws(space: str) -> None:
    base, first, second = random_state(0), random_state(1), random_state(2)
    origin = base if space == "changes" else {n: torch.zeros_like(x) for n, x in base.items()}
    merged = merge("slerp", {"a": first, "b": second}, base, t=0.3, space=space)
    equal = merge("slerp", {"a": first, "b": first}, base, t=0.3, space=space)
    scaled = [{n: origin[n] + 3 * (m[n] - origin[n]) for n in m} for m in (first, second)]
    longer = merge("slerp", {"a": scaled[0], "b": scaled[1]}, base, t=0.3, space=space)
    for name in base:
        torch.testing.assert_close(equal[name], first[name])
        torch.testing.assert_close(longer[name] - origin[name], 3 * (merged[name] - origin[name]))


def test_the_angle_is_measured_across_pieces_of_large_tensors() -> None:
    size = 300_000
    first, second = torch.zeros(size), torch.zeros(size)
    first[0] = second[-1] = 1.0
    merged = merge("slerp", {"a": {"w": first}, "b": {"w": second}})["w"]
    assert merged[[0, 1, -1]].tolist() == pytest.approx([math.sqrt(0.5), 0.0, math.sqrt(0.5)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {"a": random_state(1, dtype), "b": random_state(2, dtype)}
    wide = merge("slerp", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()})
    for name, tensor in merge("slerp", models).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


@pytest.mark.parametrize("names", ["a", "abc"])
def test_any_other_number_of_models_is_refused(names: str) -> None:
    found = ", ".join(f"`{name}`" for name in names)
    message = f"expected exactly two, but got {len(names)} ({found}). Take `nuslerp` or `karcher` for another number."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("slerp", {name: random_state(ord(name)) for name in names})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": 1.5}, "Expected argument `t` to be a number between 0 and 1, but got `1.5`."),
        ({"scope": "row"}, "Expected argument `scope` to be one of `tensor`, `global`, but got `'row'`."),
        ({"space": "changes"}, "Option `space` is `changes`, which are taken from a start model; give it as `base`."),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("slerp", {"a": random_state(1), "b": random_state(2)}, None, options)
