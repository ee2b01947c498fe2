from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.history import RunningMean
from tests.merge.tools import EDGE_SHAPES, trajectory

NUMBERS = st.floats(-1e4, 1e4, width=32)
EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}


def test_by_hand() -> None:
    # The later half of 9, 5, 2, 4 is 2, 4.
    assert merge("sma", trajectory([9.0, 5.0, 2.0, 4.0]), start=0.5)["w"].item() == 3.0


@settings(deadline=None, max_examples=50)
@given(values=st.lists(NUMBERS, min_size=1, max_size=14), quarter=st.integers(0, 3))
def test_equals_a_loop(values: list[float], quarter: int) -> None:
    kept = values[len(values) * quarter // 4 :]
    expected = sum(kept) / len(kept)
    assert merge("sma", trajectory(values), start=quarter / 4)["w"].item() == pytest.approx(
        expected, rel=1e-11, abs=1e-8
    )


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {f"{t}": {"w": torch.randn(shape, generator=generator).to(dtype)} for t in range(4)}
    merged = merge("sma", models, start=0.25)["w"]
    expected = sum((models[f"{t}"]["w"].double() / 3 for t in (1, 2, 3)), torch.zeros(shape, dtype=torch.float64))
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_checkpoints_come_in_the_order_of_their_numbers() -> None:
    models = {name: {"w": torch.tensor([value])} for name, value in {"s10": 4.0, "s9": 8.0, "s100": 6.0}.items()}
    assert merge("sma", models, start=0.4)["w"].item() == 5.0
    assert merge("sma", {name: models[name] for name in reversed(models)}, start=0.4)["w"].item() == 5.0


def test_all_are_averaged_unless_a_start_is_given() -> None:
    models = trajectory([1.0, 2.0, 6.0, 4.0])
    assert merge("sma", models)["w"].item() == 3.25


def test_the_last_checkpoint_always_enters_the_average() -> None:
    assert merge("sma", trajectory([0.0, 0.0, 3.0]))["w"].item() == 1.0
    assert merge("sma", trajectory([5.0, 5.0, 3.0]), start=0.9999999999)["w"].item() == 3.0
    assert merge("sma", trajectory([5.0]), start=0.9)["w"].item() == 5.0


def test_a_share_that_floats_cannot_hold_is_not_cut_short() -> None:
    # 0.29 * 100 is 28.999...; the mean of 29, ..., 99 is 64.
    assert merge("sma", trajectory([float(t) for t in range(100)]), start=0.29)["w"].item() == pytest.approx(64.0)


def test_it_is_the_accumulator_of_training_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1000, generator=generator) for _ in range(12)]
    average = RunningMean()
    for state in states[6:]:
        average.update([state])
    merged = merge("sma", {f"step-{t}": {"w": state} for t, state in enumerate(states)}, start=0.5)
    assert torch.equal(merged["w"], average.value()[0])


def test_equal_checkpoints_and_entries_keep_their_bits() -> None:
    same = torch.tensor([1 / 3, 0.1])
    assert torch.equal(merge("sma", {"1": {"w": same}, "2": {"w": same}})["w"], same)
    moved = {f"{t}": {"w": torch.tensor([1 / 3, float(t)])} for t in range(9)}
    assert merge("sma", moved, start=0.2)["w"][0] == same[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_trajectory_in_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    merged = merge("sma", trajectory([1.0] * 180 + [1.25] * 20, dtype), dtype=torch.float32)["w"].item()
    assert merged == pytest.approx(1.025, abs=1e-6)
    # A sum in fp16 would overflow.
    assert (
        merge("sma", trajectory([60_000.0] * 4, torch.float16) | {"step-9": {"w": torch.zeros(1).half()}})["w"].item()
        == 48_000
    )


def test_buffers_are_pooled_over_the_checkpoints_that_count() -> None:
    models = {f"{t}": _batch_norm(float(t), batches=10 * t) for t in (1, 2, 3)}
    merged = merge("sma", models, start=0.5)
    assert merged["bn.num_batches_tracked"].item() == 25
    assert merged["bn.num_batches_tracked"].dtype == torch.int64
    assert merged["bn.running_mean"].tolist() == pytest.approx([2.5])
    assert merged["ids"].tolist() == [0, 1, 2]
    assert merged["bn.weight"].tolist() == [2.5]


def test_the_base_has_no_part_in_it() -> None:
    assert merge("sma", trajectory([8.0, 0.0]), {"w": torch.tensor([1e6], dtype=torch.float64)})["w"].item() == 4.0


@pytest.mark.parametrize("start", [-0.1, 1.0, 1])
def test_a_wrong_start(start: float) -> None:
    message = f"Expected argument `start` to be a number of at least 0 and below 1, but got `{start!r}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("sma", trajectory([1.0, 2.0]), None, {"start": start}, MergeSettings())


def _batch_norm(value: float, batches: int) -> dict[str, Tensor]:
    return {
        "bn.running_mean": torch.tensor([value]),
        "bn.running_var": torch.tensor([1.0]),
        "bn.num_batches_tracked": torch.tensor(batches),
        "bn.weight": torch.tensor([value]),
        "ids": torch.arange(3),
    }
