from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.history import BetaAverage
from tests.merge.tools import EDGE_SHAPES, trajectory

NUMBERS = st.floats(-1e4, 1e4, width=32)
EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}
# 1 / sqrt(x (1 - x)) at x = 1/6, 1/2, 5/6.
END, MIDDLE = 6 / math.sqrt(5), 2.0

# Bases made up for tests are far.
pytestmark = pytest.mark.filterwarnings("ignore::hamdg.merge.CommonStartWarning")


def density(x: float, b: float) -> float:
    return math.pow(x * (1 - x), b - 1) * math.gamma(2 * b) / math.gamma(b) ** 2


def test_by_hand() -> None:
    assert merge("beta_average", trajectory([0.0, 1.0, 0.0]))["w"].item() == pytest.approx(MIDDLE / (2 * END + MIDDLE))
    assert merge("beta_average", trajectory([0.0, 0.0, 1.0]))["w"].item() == pytest.approx(END / (2 * END + MIDDLE))


def test_the_base_is_the_first_state_if_there_is_one() -> None:
    base = {"w": torch.tensor([1.0], dtype=torch.float64)}
    assert merge("beta_average", trajectory([0.0, 0.0]), base)["w"].item() == pytest.approx(END / (2 * END + MIDDLE))
    assert merge("beta_average", trajectory([0.0]), base)["w"].item() == pytest.approx(0.5)
    assert merge("beta_average", trajectory([0.0, 0.0]))["w"].item() == 0.0


@settings(deadline=None, max_examples=50)
@given(values=st.lists(NUMBERS, min_size=1, max_size=14), beta=st.floats(0.1, 20), base=st.one_of(st.none(), NUMBERS))
def test_equals_the_formula(values: list[float], beta: float, base: float | None) -> None:
    start = None if base is None else {"w": torch.tensor([base], dtype=torch.float64)}
    states = values if base is None else [base, *values]
    weights = [density((t + 0.5) / len(states), beta) for t in range(len(states))]
    expected = sum(weight * state for weight, state in zip(weights, states, strict=True)) / sum(weights)
    merged = merge("beta_average", trajectory(values), start, beta=beta)["w"].item()
    assert merged == pytest.approx(expected, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    base, *models = ({"w": torch.randn(shape, generator=generator).to(dtype)} for _ in range(3))
    merged = merge("beta_average", {"1": models[0], "2": models[1]}, base)["w"]
    ends = base["w"].double() + models[1]["w"].double()
    expected = (END * ends + MIDDLE * models[0]["w"].double()) / (2 * END + MIDDLE)
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_checkpoints_come_in_the_order_of_their_numbers() -> None:
    models = {name: {"w": torch.tensor([value])} for name, value in {"s10": 1.0, "s9": 0.0, "s100": 0.0}.items()}
    expected = pytest.approx(MIDDLE / (2 * END + MIDDLE))
    assert merge("beta_average", models)["w"].item() == expected
    assert merge("beta_average", {name: models[name] for name in reversed(models)})["w"].item() == expected


def test_both_ends_weigh_the_same_and_most() -> None:
    spikes = [merge("beta_average", trajectory([float(t == i) for t in range(7)]))["w"].item() for i in range(7)]
    assert spikes[0] == pytest.approx(spikes[6]) == max(spikes)
    assert spikes[0] > spikes[1] > spikes[2] > spikes[3]


def test_beta_one_is_the_plain_mean() -> None:
    assert merge("beta_average", trajectory([1.0, 2.0, 6.0, 7.0]), beta=1)["w"].item() == pytest.approx(4.0)


def test_it_is_the_accumulator_of_training_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1000, generator=generator) for _ in range(12)]
    average = BetaAverage(12, 0.5)
    for state in states:
        average.update([state])
    models = {f"step-{t}": {"w": state} for t, state in enumerate(states[1:])}
    assert torch.equal(merge("beta_average", models, {"w": states[0]})["w"], average.value()[0])


def test_equal_states_and_entries_keep_their_bits() -> None:
    same = {"w": torch.tensor([1 / 3, 0.1])}
    assert torch.equal(merge("beta_average", {"1": same, "2": same}, same)["w"], same["w"])
    moved = {f"{t}": {"w": torch.tensor([1 / 3, float(t)])} for t in range(9)}
    assert merge("beta_average", moved)["w"][0] == same["w"][0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_trajectory_in_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    values = [1.0] * 180 + [1.25] * 20
    merged = merge("beta_average", trajectory(values, dtype), beta=1, dtype=torch.float32)["w"].item()
    assert merged == pytest.approx(1.025, abs=1e-6)


def test_counters_are_averaged_along_a_trajectory_and_other_integers_are_not() -> None:
    models = {
        f"step-{count}": {
            "n.num_batches_tracked": torch.tensor(count),
            "ids": torch.arange(3),
            "w": torch.ones(1) * count,
        }
        for count in (3, 5)
    }
    merged = merge("beta_average", models)
    assert merged["n.num_batches_tracked"].dtype == torch.int64
    assert merged["n.num_batches_tracked"].item() == 4
    assert merged["ids"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("beta", [0, -1.0, math.inf])
def test_a_wrong_beta(beta: float) -> None:
    message = f"Expected argument `beta` to be a number above 0, but got `{beta!r}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("beta_average", trajectory([1.0, 2.0]), None, {"beta": beta}, MergeSettings())
