from __future__ import annotations

import io
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.history import Average, BetaAverage, Ema, LinearAverage, RunningMean, WeightedMean, steps_before

NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def fed(average: Average, numbers: list[float], dtype: torch.dtype = torch.float64) -> float:
    for number in numbers:
        average.update([torch.tensor([number], dtype=dtype)])
    return float(average.value()[0].item())


def beta_density(x: float, b: float) -> float:
    return math.pow(x * (1 - x), b - 1) * math.gamma(2 * b) / math.gamma(b) ** 2


@settings(deadline=None, max_examples=40)
@given(numbers=NUMBERS)
def test_running_mean_equals_the_mean(numbers: list[float]) -> None:
    assert fed(RunningMean(), numbers) == pytest.approx(math.fsum(numbers) / len(numbers), abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(numbers=NUMBERS, decay=st.floats(0, 1))
def test_ema_equals_its_recursion(numbers: list[float], decay: float) -> None:
    expected = numbers[0]
    for number in numbers[1:]:
        expected = decay * expected + (1 - decay) * number
    assert fed(Ema(decay), numbers) == pytest.approx(expected, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(numbers=NUMBERS, beta=st.floats(0.1, 20), spare=st.integers(0, 5))
def test_beta_average_equals_the_closed_form(numbers: list[float], beta: float, spare: int) -> None:
    total = len(numbers) + spare
    weights = [beta_density((t + 0.5) / total, beta) for t in range(len(numbers))]
    expected = sum(w * x for w, x in zip(weights, numbers, strict=True)) / sum(weights)
    assert fed(BetaAverage(total, beta), numbers) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(numbers=NUMBERS)
def test_the_nth_state_weighs_n_in_a_linear_average(numbers: list[float]) -> None:
    weights = range(1, len(numbers) + 1)
    expected = math.fsum(w * x for w, x in zip(weights, numbers, strict=True)) / sum(weights)
    assert fed(LinearAverage(), numbers) == pytest.approx(expected, abs=1e-10)


def test_a_weighted_mean_by_hand() -> None:
    mean = WeightedMean()
    for weight, value, expected in [
        (0.0, 7.0, 7.0),
        (0.0, 5.0, 5.0),
        (0.5, 1.0, 1.0),
        (1.5, 3.0, 2.5),
        (0.0, 9.0, 2.5),
    ]:
        mean.weight = weight
        assert fed(mean, [value]) == pytest.approx(expected)


def test_beta_average_by_hand() -> None:
    # b = 1/2: 1 / sqrt(x (1 - x)) at 1/6, 1/2, 5/6 is 6 / sqrt(5), 2, 6 / sqrt(5).
    end = 6 / math.sqrt(5)
    assert fed(BetaAverage(3, 0.5), [1.0, 0.0, 0.0]) == pytest.approx(end / (2 * end + 2))


def test_beta_one_is_the_running_mean() -> None:
    assert fed(BetaAverage(4, 1.0), [1.0, 2.0, 6.0, 7.0]) == pytest.approx(4.0)


def test_weights_that_underflow_do_not_divide_by_zero() -> None:
    assert fed(BetaAverage(5, 1e5), [7.0, 8.0]) == 8.0
    assert fed(BetaAverage(5, 1e5), [7.0, 8.0, 3.0, 8.0, 7.0]) == 3.0


def test_ema_ends() -> None:
    assert fed(Ema(0.0), [1.0, 2.0, 3.0]) == 3.0
    assert fed(Ema(1.0), [1.0, 2.0, 3.0]) == 1.0


@pytest.mark.parametrize("average", [RunningMean(), LinearAverage(), Ema(0.9), BetaAverage(2000, 0.5)])
def test_equal_states_are_a_fixed_point(average: Average) -> None:
    state = [torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(1 / 3)]
    for _ in range(50):
        average.update(state)
    assert all(torch.equal(mean, tensor) for mean, tensor in zip(average.value(), state, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_steps_survive_half_precision_weights(dtype: torch.dtype) -> None:
    # 900 states at 1 and 100 at 1.25: a bf16 or fp16 accumulator would stop at the rounding of the last updates.
    numbers = [1.0] * 900 + [1.25] * 100
    assert fed(RunningMean(), numbers, dtype) == pytest.approx(1.025, abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_dtypes_and_shapes(dtype: torch.dtype, expected: torch.dtype) -> None:
    shapes = [(), (1,), (0,), (2, 3, 1, 2)]
    average = RunningMean()
    for value in (1.0, 2.0):
        average.update([torch.full(shape, value, dtype=dtype) for shape in shapes])
    assert [tensor.dtype for tensor in average.value()] == [expected] * 4
    assert [tuple(tensor.shape) for tensor in average.value()] == shapes
    assert average.value()[3].flatten().tolist() == [1.5] * 12


def test_weights_are_neither_changed_nor_kept() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    average = RunningMean()
    average.update([weight])
    with torch.no_grad():
        weight.fill_(3.0)
    assert average.value()[0].tolist() == [1.0, 1.0]
    average.update([weight])
    assert weight.tolist() == [3.0, 3.0]
    value = average.value()[0]
    value.zero_()
    assert average.value()[0].tolist() == [2.0, 2.0]
    assert not value.requires_grad


@pytest.mark.parametrize("kind", ["mean", "ema", "beta"])
def test_a_restart_changes_no_bit(kind: str) -> None:
    def new() -> Average:
        return {"mean": RunningMean(), "ema": Ema(0.95), "beta": BetaAverage(20, 0.5)}[kind]

    generator = torch.Generator().manual_seed(0)
    states: list[list[Tensor]] = [[torch.randn(5, generator=generator)] for _ in range(20)]
    through, first, second = new(), new(), new()
    for state in states:
        through.update(state)
    for state in states[:7]:
        first.update(state)
    saved = first.state_dict()
    first.update(states[8])
    second.load_state_dict(saved)
    for state in states[7:]:
        second.update(state)
    assert second.count == 20
    assert torch.equal(second.value()[0], through.value()[0])


def test_the_state_can_be_saved_weights_only() -> None:
    average = BetaAverage(5, 0.5)
    average.update([torch.ones(2)])
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    file.seek(0)
    restored = torch.load(file, weights_only=True)
    assert restored["count"] == 1
    assert restored["mass"] == average.state_dict()["mass"]
    assert torch.equal(restored["average"][0], torch.ones(2))


def test_no_value_before_the_first_update() -> None:
    with pytest.raises(ConfigError, match=re.escape("The history is empty; call `update` before `value`.")):
        RunningMean().value()


def test_other_shapes_than_before() -> None:
    average = RunningMean()
    average.update([torch.ones(2)])
    message = "Expected 1 tensors of shapes [(2,)] as in the first update, but got 2 tensors of shapes [(2,), (1,)]."
    with pytest.raises(ConfigError, match=re.escape(message)):
        average.update([torch.ones(2), torch.ones(1)])
    # Without the check a shape that broadcasts would be averaged silently.
    with pytest.raises(ConfigError, match=re.escape("but got 1 tensors of shapes [(1,)].")):
        average.update([torch.ones(1)])
    assert average.count == 1


def test_counters_are_refused() -> None:
    message = "Expected floating-point tensors, but got one of `torch.int64`; leave counters out."
    with pytest.raises(ConfigError, match=re.escape(message)):
        RunningMean().update([torch.tensor(3)])


def test_more_updates_than_announced() -> None:
    message = "Expected at most 2 updates, but got one more; give `total` the true number."
    with pytest.raises(ConfigError, match=re.escape(message)):
        fed(BetaAverage(2, 0.5), [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.5), "Expected argument `total` to be at least 1, but got `0`."),
        ((3, 0.0), "Expected argument `beta` to be above 0, but got `0.0`."),
        ((3, math.nan), "Expected argument `beta` to be above 0, but got `nan`."),
    ],
)
def test_wrong_beta_arguments(arguments: tuple[int, float], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        BetaAverage(*arguments)


def test_wrong_decay() -> None:
    with pytest.raises(ConfigError, match=re.escape("Expected argument `decay` to be between 0 and 1, but got `1.5`.")):
        Ema(1.5)


def test_joined_means_are_the_mean_of_all_updates() -> None:
    early, late = RunningMean(), RunningMean()
    assert fed(early, [1.0, 2.0]) == 1.5
    assert fed(late, [6.0, 7.0, 8.0]) == 7.0
    assert RunningMean().join(early).join(late).value()[0].item() == pytest.approx(24 / 5)
    assert early.join(RunningMean()).count == 2
    assert early.value()[0].item() == 1.5
    assert late.value()[0].item() == 7.0


def test_the_last_state_enters_every_average() -> None:
    assert fed(RunningMean(), [0.0, 0.0, 3.0]) == 1.0
    assert fed(Ema(0.75), [0.0, 0.0, 4.0]) == 1.0
    assert fed(BetaAverage(3, 1.0), [0.0, 0.0, 3.0]) == pytest.approx(1.0)


@pytest.mark.gpu
def test_a_state_restored_on_the_cpu_moves_to_the_weights() -> None:
    average, restored = RunningMean(), RunningMean()
    average.update([torch.ones(2)])
    restored.load_state_dict(average.state_dict())
    restored.update([torch.zeros(2, device="cuda")])
    assert restored.value()[0].is_cuda
    assert restored.value()[0].tolist() == [0.5, 0.5]


def test_steps_before_a_fraction_do_not_suffer_from_rounding() -> None:
    assert [steps_before(start, 100) for start in (0.0, 0.29, 0.999, 1.0)] == [0, 29, 99, 100]
