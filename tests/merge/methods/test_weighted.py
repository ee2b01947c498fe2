from __future__ import annotations

import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import EDGE_SHAPES

NUMBERS = st.floats(-1e4, 1e4, width=32)
EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}


def test_by_hand() -> None:
    # (1 * 1 + 3 * 3) / 4 and (1 * 2 + 3 * -4) / 4.
    models = {"a": {"w": torch.tensor([1.0, 2.0])}, "b": {"w": torch.tensor([3.0, -4.0])}}
    assert merge("weighted", models, weights={"a": 1, "b": 3})["w"].tolist() == [2.5, -2.5]


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.lists(NUMBERS, min_size=3, max_size=3), st.floats(0.01, 100)), min_size=1, max_size=5)
)
def test_equals_exact_fractions(rows: list[tuple[list[float], float]]) -> None:
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, (row, _) in enumerate(rows)}
    weights = {f"s{i}": weight for i, (_, weight) in enumerate(rows)}
    mass = sum(Fraction(weight) for _, weight in rows)
    expected = [float(sum(Fraction(row[i]) * Fraction(weight) for row, weight in rows) / mass) for i in range(3)]
    assert merge("weighted", models, weights=weights)["w"].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    models = _random(dtype, shape)
    merged = merge("weighted", models, weights={"a": 0.2, "b": 0.5, "c": 7})["w"]
    expected = (0.2 * models["a"]["w"].double() + 0.5 * models["b"]["w"].double() + 7 * models["c"]["w"].double()) / 7.7
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_without_weights_it_is_the_uniform_average_bit_for_bit() -> None:
    models = _random(torch.float32, (50,))
    plain = merge("uniform", models)["w"]
    assert torch.equal(merge("weighted", models)["w"], plain)
    assert torch.equal(merge("weighted", models, weights=dict.fromkeys("abc", 2))["w"], plain)


def test_the_order_of_the_sources_does_not_matter() -> None:
    models = _random(torch.float32, (50,))
    backwards = {name: models[name] for name in reversed(models)}
    merged = merge("weighted", models, weights={"a": 1, "b": 2, "c": 3})["w"]
    assert torch.equal(merge("weighted", backwards, weights={"c": 3, "b": 2, "a": 1})["w"], merged)


def test_only_the_ratios_of_the_weights_matter() -> None:
    models = _random(torch.float32, (50,))
    merged = merge("weighted", models, weights={"a": 1, "b": 2, "c": 3})["w"]
    for factor in (0.25, 2.0**500, 2.0**-500):
        assert torch.equal(
            merge("weighted", models, weights={"a": factor, "b": 2 * factor, "c": 3 * factor})["w"], merged
        )


def test_one_source_and_equal_sources_stay_as_they_are() -> None:
    (first, *_) = _random(torch.float32, (50,)).values()
    assert torch.equal(merge("weighted", {"a": first}, weights={"a": 0.3})["w"], first["w"])
    assert torch.equal(merge("weighted", {"a": first, "b": first}, weights={"a": 0.3, "b": 5})["w"], first["w"])


def test_a_source_of_weight_zero_has_no_part() -> None:
    models = _random(torch.float32, (50,))
    without = merge("weighted", {"a": models["a"], "b": models["b"]}, weights={"a": 1, "b": 2})["w"]
    assert torch.equal(merge("weighted", models, weights={"a": 1, "b": 2, "c": 0})["w"], without)


def test_negative_weights_lead_away_from_a_source() -> None:
    models = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([3.0])}}
    assert merge("weighted", models, weights={"a": -1, "b": 2})["w"].item() == 5.0


def test_half_precision_does_not_overflow() -> None:
    models = {name: {"w": torch.tensor([60_000.0]).half()} for name in "abc"} | {"d": {"w": torch.zeros(1).half()}}
    assert merge("weighted", models, weights={"a": 4, "b": 2, "c": 2, "d": 8})["w"].item() == 30_000.0


def test_counters_and_other_integers_are_not_averaged() -> None:
    models = {
        name: {"n.num_batches_tracked": torch.tensor(count), "ids": torch.arange(3), "w": torch.ones(1) * count}
        for name, count in {"a": 4, "b": 5}.items()
    }
    merged = merge("weighted", models, weights={"a": 1, "b": 2})
    assert merged["n.num_batches_tracked"].dtype == torch.int64
    # Half of the batches of the one that counts half.
    assert merged["n.num_batches_tracked"].item() == 7
    assert merged["ids"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0, "b": -1.0}, "The weights of `a`, `b` sum to zero; an average needs another sum."),
        ({"a": 1.0}, "Expected argument `weights` to hold one number for each of `a`, `b`, but `b` has no weight."),
        ({"a": 1.0, "b": float("nan")}, "Expected the weight of `b` to be a number, but got `nan`."),
    ],
)
def test_bad_weights(weights: dict[str, float], message: str) -> None:
    models = {"a": {"w": torch.ones(1)}, "b": {"w": torch.zeros(1)}}
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("weighted", models, None, {}, MergeSettings(weights=weights))


def _random(dtype: torch.dtype, shape: tuple[int, ...]) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return {name: {"w": torch.randn(shape, generator=generator).to(dtype)} for name in "abc"}
