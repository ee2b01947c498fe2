from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import merge, merge_with
from tests.merge.tools import State, Vector, random_state


def random_models(base: State, count: int = 3) -> dict[str, State]:
    return {
        "dcba"[i]: {n: (t.double() + random_state(i + 1, spread=0.2)[n]).to(t.dtype) for n, t in base.items()}
        for i in range(count)
    }


def cosine(a: Vector, b: Vector) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def reference(changes: list[Vector]) -> Vector:
    """The merged change of one layer, from the formula."""
    count = len(changes)
    pairs = list(itertools.combinations(range(count), 2))
    mean = sum(cosine(changes[i], changes[j]) for i, j in pairs) / len(pairs)
    ratio = count * mean / (1 + (count - 1) * mean) if mean > 0 else 0.0
    return [ratio * sum(column) / count for column in zip(*changes, strict=True)]


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_equals_the_slow_reference(count: int, scope: str) -> None:
    base = random_state(0)
    # What all share makes most cosines positive.
    models = {s: {n: t + 0.3 for n, t in m.items()} for s, m in random_models(base, count).items()}
    changes = {n: [(m[n] - base[n]).flatten().tolist() for m in models.values()] for n in base}
    merged = merge("model_stock", models, base, scope=scope)
    everything = reference([list(itertools.chain(*parts)) for parts in zip(*changes.values(), strict=True)])
    start = 0
    for name in base:
        size = base[name].numel()
        expected = everything[start : start + size] if scope == "global" else reference(changes[name])
        start += size
        assert merged[name].shape == base[name].shape
        assert (merged[name] - base[name]).flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(-3, 3).map(float), min_size=4, max_size=4), min_size=2, max_size=5))
def test_any_changes_give_what_the_formula_gives(rows: list[Vector]) -> None:
    base = {"w": torch.zeros(4, dtype=torch.float64)}
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, row in enumerate(rows)}
    assert merge("model_stock", models, base)["w"].tolist() == pytest.approx(reference(rows), abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Three changes at 60 degrees to each other: t = 3/2 / 2 = 3/4 of the mean 2/3.
        ([[1, 1, 0], [1, 0, 1], [0, 1, 1]], [0.5, 0.5, 0.5]),
        # At right angles: the base.
        ([[1, 0, 0], [0, 2, 0]], [0, 0, 0]),
        # In one direction: the mean, whatever their lengths.
        ([[1, 0, 0], [3, 0, 0]], [2, 0, 0]),
        # Cosines 1, 0, 0: their mean 1/3 gives t = 3/5 (the mean angle, 60 degrees, would give 3/4).
        ([[1, 0, 0], [2, 0, 0], [0, 1, 0]], [0.6, 0.2, 0]),
        # Against each other: the base, not beyond it.
        ([[1, 0, 0], [-1, 1, 0]], [0, 0, 0]),
        ([[1, 0, 0], [-1, 0, 0]], [0, 0, 0]),
        # Who did not move says nothing about directions: cosine 0.
        ([[1, 0, 0], [0, 0, 0]], [0, 0, 0]),
        ([[1, 0, 0], [1, 0, 0], [0, 0, 0]], [0.6 * 2 / 3, 0, 0]),
        ([[1, 2, 3]], [1, 2, 3]),
    ],
)
def test_by_hand(rows: list[Vector], expected: Vector) -> None:
    base = {"w": torch.tensor([10.0, 20.0, 30.0])}
    models = {f"s{i}": {"w": base["w"] + torch.tensor(row)} for i, row in enumerate(rows)}
    assert (merge("model_stock", models, base)["w"] - base["w"]).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_ratio_of_a_whole_model_is_not_that_of_its_tensors() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}
    models = {
        "art": {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1.0, 0.0])},
        "photo": {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])},
    }
    # Cosines 1 and 0; of the whole 1/2, so t = 2/3.
    assert merge("model_stock", models, base)["a"].tolist() == pytest.approx([1.0, 0.0])
    assert merge("model_stock", models, base)["b"].tolist() == pytest.approx([0.0, 0.0])
    assert merge("model_stock", models, base, scope="global")["a"].tolist() == pytest.approx([2 / 3, 0.0])
    assert merge("model_stock", models, base, scope="global")["b"].tolist() == pytest.approx([1 / 3, 1 / 3])


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_laws(scope: str) -> None:
    base = random_state(0)
    models = {s: {n: t + 0.3 for n, t in m.items()} for s, m in random_models(base).items()}
    merged = merge("model_stock", models, base, scope=scope)
    backwards = merge("model_stock", dict(reversed(models.items())), base, scope=scope, threads=2)
    same = merge("model_stock", {"x": models["a" if "a" in models else "b"], "y": models["b"]}, base, scope=scope)
    longer = {s: {n: base[n] + 2 * (t - base[n]) for n, t in m.items()} for s, m in models.items()}
    doubled = merge("model_stock", longer, base, scope=scope)
    for name in base:
        assert torch.equal(merged[name], backwards[name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))
        torch.testing.assert_close(same[name], models["b"][name])


def test_tiny_changes_have_the_same_angles() -> None:
    base = {"w": torch.zeros(3)}
    rows = ([1, 1, 0], [1, 0, 1], [0, 1, 1])
    models = {f"s{i}": {"w": 1e-12 * torch.tensor(row)} for i, row in enumerate(rows)}
    assert merge("model_stock", models, base)["w"].tolist() == pytest.approx([5e-13] * 3)


def test_angles_are_measured_across_pieces_of_large_tensors() -> None:
    size = 300_000
    base = {"w": torch.zeros(size)}
    first, second = torch.zeros(size), torch.zeros(size)
    first[: size // 2], second[size // 4 : 3 * size // 4] = 1.0, 1.0
    merged = merge("model_stock", {"a": {"w": first}, "b": {"w": second}}, base)["w"]
    # Half of each overlaps: cosine 1/2, t = 2/3.
    assert merged[[0, size // 4, size // 2, -1]].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    base = random_state(0, dtype=dtype)
    models = random_models(base)
    wide = merge(
        "model_stock",
        {s: {n: t.double() for n, t in m.items()} for s, m in models.items()},
        {n: t.double() for n, t in base.items()},
    )
    for name, tensor in merge("model_stock", models, base).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


def test_half_precision_does_not_overflow() -> None:
    base = {"w": torch.zeros(4, dtype=torch.float16)}
    models = {s: {"w": torch.full((4,), 60000.0, dtype=torch.float16)} for s in "abc"}
    assert torch.equal(merge("model_stock", models, base)["w"], models["a"]["w"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "row"}, "Expected argument `scope` to be one of `tensor`, `global`, but got `'row'`."),
        ({"scop": "tensor"}, "did you mean `scope`?"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    state = random_state(0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("model_stock", {"a": state}, state, options)


def test_a_base_is_needed() -> None:
    with pytest.raises(ConfigError, match="works on the change from a start model; give it as `base`"):
        merge("model_stock", {"a": random_state(0)})
