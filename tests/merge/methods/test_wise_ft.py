from __future__ import annotations

import re

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

# The methods that warn of a far base are tested elsewhere; bases made up for tests are far.
pytestmark = pytest.mark.filterwarnings("ignore::hamdg.merge.CommonStartWarning")


def test_by_hand() -> None:
    # A quarter of the way from 1 to 5.
    assert merge("wise_ft", {"a": {"w": torch.tensor(5.0)}}, {"w": torch.tensor(1.0)}, alpha=0.25)["w"].item() == 2.0


@settings(deadline=None, max_examples=50)
@given(
    base=NUMBERS,
    alpha=st.floats(0, 1),
    sources=st.lists(st.tuples(NUMBERS, st.floats(0.01, 100)), min_size=1, max_size=4),
)
def test_equals_the_formula(base: float, alpha: float, sources: list[tuple[float, float]]) -> None:
    models = {f"s{i}": {"w": torch.tensor([value], dtype=torch.float64)} for i, (value, _) in enumerate(sources)}
    weights = {f"s{i}": weight for i, (_, weight) in enumerate(sources)}
    tuned = sum(value * weight for value, weight in sources) / sum(weight for _, weight in sources)
    merged = merge("wise_ft", models, {"w": torch.tensor([base], dtype=torch.float64)}, weights, alpha=alpha)
    assert merged["w"].item() == pytest.approx((1 - alpha) * base + alpha * tuned, rel=1e-11, abs=1e-8)


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    base, models = _random(dtype, shape)
    merged = merge("wise_ft", models, base, alpha=0.3)["w"]
    mean = (models["a"]["w"].double() + models["b"]["w"].double()) / 2
    assert merged.dtype == dtype
    assert merged.shape == shape
    expected = 0.7 * base["w"].double() + 0.3 * mean
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_half_of_the_way_is_the_default() -> None:
    base, models = _random(torch.float32, (20,))
    assert torch.equal(merge("wise_ft", models, base)["w"], merge("wise_ft", models, base, alpha=0.5)["w"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_ends_are_the_base_and_the_mean_bit_for_bit(dtype: torch.dtype) -> None:
    base, models = _random(dtype, (50,))
    assert torch.equal(merge("wise_ft", models, base, alpha=0)["w"], base["w"])
    assert torch.equal(merge("wise_ft", models, base, alpha=1)["w"], merge("uniform", models)["w"])
    assert torch.equal(merge("wise_ft", {"a": models["a"]}, base, alpha=1)["w"], models["a"]["w"])


def test_several_sources_are_averaged_by_their_weights_first() -> None:
    models = {"a": {"w": torch.tensor([2.0])}, "b": {"w": torch.tensor([6.0])}}
    merged = merge("wise_ft", models, {"w": torch.tensor([0.0])}, {"a": 1, "b": 3}, alpha=0.5)
    assert merged["w"].item() == 2.5


def test_sources_that_equal_the_base_give_the_base() -> None:
    base, _ = _random(torch.float32, (50,))
    assert torch.equal(merge("wise_ft", {"a": base, "b": base}, base, alpha=0.3)["w"], base["w"])


def test_an_entry_that_did_not_move_keeps_its_bits() -> None:
    base = {"w": torch.tensor([1 / 3, 0.0])}
    merged = merge("wise_ft", {"a": {"w": torch.tensor([1 / 3, 1.0])}}, base, alpha=0.7)["w"]
    assert merged[0] == base["w"][0]


def test_it_is_task_arithmetic_with_the_scale_alpha_over_n() -> None:
    base, models = _random(torch.float64, (20,))
    expected = merge("task_arithmetic", models, base, scale=0.15)["w"]
    assert torch.allclose(merge("wise_ft", models, base, alpha=0.3)["w"], expected, rtol=0, atol=1e-14)


def test_a_base_is_asked_for() -> None:
    message = "Merge method `wise_ft` works on the change from a start model; give it as `base`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("wise_ft", {"a": {"w": torch.ones(1)}})


@pytest.mark.parametrize("alpha", [-0.1, 1.5, "half"])
def test_a_wrong_alpha(alpha: float | str) -> None:
    message = f"Expected argument `alpha` to be a number between 0 and 1, but got `{alpha!r}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("wise_ft", {"a": {"w": torch.ones(1)}}, {"w": torch.ones(1)}, {"alpha": alpha}, MergeSettings())


def _random(dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    base, *models = ({"w": torch.randn(shape, generator=generator).to(dtype)} for _ in range(3))
    return base, dict(zip("ab", models, strict=True))
