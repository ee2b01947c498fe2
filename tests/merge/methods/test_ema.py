from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.history import Ema
from tests.merge.tools import EDGE_SHAPES, trajectory

NUMBERS = st.floats(-1e4, 1e4, width=32)
EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}


def test_by_hand() -> None:
    # 8, then 8/2 + 0/2 = 4, then 4/2 + 6/2 = 5.
    assert merge("ema", trajectory([8.0, 0.0, 6.0]), decay=0.5)["w"].item() == 5.0


@settings(deadline=None, max_examples=50)
@given(values=st.lists(NUMBERS, min_size=1, max_size=14), decay=st.floats(0, 1))
def test_equals_the_weights_written_out(values: list[float], decay: float) -> None:
    weights = [decay ** (len(values) - 1)]
    weights += [(1 - decay) * decay ** (len(values) - 1 - t) for t in range(1, len(values))]
    expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
    assert merge("ema", trajectory(values), decay=decay)["w"].item() == pytest.approx(expected, rel=1e-11, abs=1e-8)


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {f"{t}": {"w": torch.randn(shape, generator=generator).to(dtype)} for t in range(3)}
    merged = merge("ema", models, decay=0.75)["w"]
    first, second, third = (models[f"{t}"]["w"].double() for t in range(3))
    expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_checkpoints_come_in_the_order_of_their_numbers() -> None:
    values = {"step-10": 4.0, "step-2": 8.0, "step-100": 6.0}
    models = {name: {"w": torch.tensor([value])} for name, value in values.items()}
    # 8, 8/2 + 4/2 = 6, 6/2 + 6/2 = 6; the alphabet would begin with step-10.
    assert merge("ema", models, decay=0.5)["w"].item() == 6.0
    assert merge("ema", {name: models[name] for name in sorted(models)}, decay=0.5)["w"].item() == 6.0


def test_the_last_checkpoint_enters_the_average() -> None:
    assert merge("ema", trajectory([0.0, 0.0, 1.0]), decay=0.9)["w"].item() == pytest.approx(0.1)
    assert merge("ema", trajectory([3.0, 1.0, 7.0]), decay=0)["w"].item() == 7.0


def test_the_first_update_copies() -> None:
    assert merge("ema", trajectory([3.0]), decay=0.999)["w"].item() == 3.0
    assert merge("ema", trajectory([3.0, 1.0, 7.0]), decay=1)["w"].item() == 3.0


def test_it_is_the_accumulator_of_training_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1000, generator=generator) for _ in range(12)]
    average = Ema(0.9)
    for state in states:
        average.update([state])
    merged = merge("ema", {f"step-{t}": {"w": state} for t, state in enumerate(states)}, decay=0.9)
    assert torch.equal(merged["w"], average.value()[0])


def test_equal_checkpoints_and_entries_keep_their_bits() -> None:
    same = torch.tensor([1 / 3, 0.1])
    assert torch.equal(merge("ema", {"1": {"w": same}, "2": {"w": same}})["w"], same)
    moved = {f"{t}": {"w": torch.tensor([1 / 3, float(t)])} for t in range(9)}
    assert merge("ema", moved, decay=0.7)["w"][0] == same[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_trajectory_in_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    # The first update moves by 0.0025: less than half of bf16's resolution at 1, so that an average in bf16 would stay.
    values = [1.0] + [1.25] * 60
    merged = merge("ema", trajectory(values, dtype), decay=0.99, dtype=torch.float32)["w"].item()
    assert merged == pytest.approx(1.25 - 0.25 * 0.99**60, abs=1e-6)


def test_counters_are_averaged_along_a_trajectory_and_other_integers_are_not() -> None:
    models = {
        f"step-{count}": {
            "n.num_batches_tracked": torch.tensor(count),
            "ids": torch.arange(3),
            "w": torch.ones(1) * count,
        }
        for count in (3, 5)
    }
    merged = merge("ema", models, decay=0.5)
    assert merged["n.num_batches_tracked"].dtype == torch.int64
    assert merged["n.num_batches_tracked"].item() == 4
    assert merged["ids"].tolist() == [0, 1, 2]


def test_the_base_has_no_part_in_it() -> None:
    assert (
        merge("ema", trajectory([8.0, 0.0]), {"w": torch.tensor([1e6], dtype=torch.float64)}, decay=0.5)["w"].item()
        == 4.0
    )


def test_a_name_without_a_number_among_others() -> None:
    message = (
        "The checkpoints of a trajectory are taken in the order of the numbers in their names, but `last` has none "
        "while `step-10` has; name all of them by their step."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("ema", {"step-10": {"w": torch.ones(1)}, "last": {"w": torch.zeros(1)}})


@pytest.mark.parametrize("decay", [-0.1, 1.01, True])
def test_a_wrong_decay(decay: float) -> None:
    message = f"Expected argument `decay` to be a number between 0 and 1, but got `{decay!r}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("ema", trajectory([1.0, 2.0]), None, {"decay": decay}, MergeSettings())
