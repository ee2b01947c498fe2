"""SWAD's average while training: the merge method's, in constant memory, resumed bit for bit."""

from __future__ import annotations

import io
import math
import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge_with
from hamdg.merge.functional.trajectory import NoEnd, NoStart
from hamdg.merge.swad_average import SwadAverage


def valued(average: SwadAverage, trajectory: list[tuple[float, float]], dtype: torch.dtype = torch.float64) -> float:
    for state, loss in trajectory:
        average.update([torch.tensor([state], dtype=dtype)])
        average.validated(loss)
    return float(average.value()[0].item())


# Losses that are multiples of 1/8 are often equal.
TRAJECTORIES = st.lists(
    st.tuples(st.floats(-100, 100, width=32), st.integers(1, 40).map(lambda eighths: eighths / 8)),
    min_size=1,
    max_size=24,
)


@settings(deadline=None, max_examples=150)
@given(
    trajectory=TRAJECTORIES,
    n_s=st.integers(1, 4),
    n_e=st.integers(1, 4),
    r=st.sampled_from([1.0, 1.25]),
    no_start=st.sampled_from(["all", "last"]),
    no_end=st.sampled_from(["keep", "drop"]),
)
def test_swad_equals_the_merge_method_on_the_same_losses(
    trajectory: list[tuple[float, float]], n_s: int, n_e: int, r: float, no_start: NoStart, no_end: NoEnd
) -> None:
    class Known:
        def loss(self, source: str) -> float:
            return trajectory[int(source)][1]

    models = {str(t): {"w": torch.tensor([state], dtype=torch.float64)} for t, (state, _) in enumerate(trajectory)}
    options = {"n_s": n_s, "n_e": n_e, "r": r, "no_start": no_start, "no_end": no_end}
    merged = merge_with("swad", models, None, options, MergeSettings(evidence=Known()))
    average = SwadAverage(n_s, n_e, r, no_start, no_end)
    assert valued(average, trajectory) == pytest.approx(merged["w"].item(), rel=1e-11, abs=1e-9)


def test_swad_by_hand() -> None:
    # Threshold 1.2 * (2 + 3 + 4) / 3 = 3.6; the valley is 2, 3, 4, 3, and 4, 5 end it.
    losses = [5.0, 4.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 1.0]
    average = SwadAverage(3, 2, 1.2)
    assert valued(average, [(2.0**t, loss) for t, loss in enumerate(losses)]) == (4 + 8 + 16 + 32) / 4
    assert average.value()[0].item() == 15.0
    assert average.ended
    assert average.count == 4


def test_swad_takes_nothing_in_after_the_end() -> None:
    average = SwadAverage(1, 1)
    assert valued(average, [(1.0, 1.0), (2.0, 9.0), (3.0, 1.0)]) == 1.0
    average.update([torch.ones(3)])
    assert average.count == 1
    assert average.state_dict()["open"]["average"] == []


def test_swad_averages_every_state_of_a_segment() -> None:
    average = SwadAverage(2, 1)
    # Segments of 2, 1, 3 and 1 states; the first is too early, the last above the threshold.
    for states, loss in [([1, 2], 9.0), ([3], 1.0), ([4, 5, 6], 1.0), ([7], 9.0)]:
        for state in states:
            average.update([torch.tensor([float(state)])])
        average.validated(loss)
    assert average.value()[0].item() == pytest.approx((3 + 4 + 5 + 6) / 4)


def test_swad_counts_states_after_the_last_loss() -> None:
    def half_open(no_start: NoStart, no_end: NoEnd, losses: list[float]) -> float:
        average = SwadAverage(2, 2, 1.3, no_start, no_end)
        valued(average, [(0.0, loss) for loss in losses])
        average.update([torch.tensor([3.0], dtype=torch.float64)])
        return float(average.value()[0].item())

    assert half_open("all", "keep", [1.0, 1.0]) == pytest.approx(1.0)
    assert half_open("all", "drop", [1.0, 1.0]) == 0.0
    assert half_open("all", "keep", [2.0, 1.0]) == pytest.approx(1.0)
    assert half_open("last", "keep", [2.0, 1.0]) == 3.0
    assert half_open("all", "keep", [1.0, 1.0, 9.0, 9.0]) == 0.0


@pytest.mark.parametrize(("no_start", "before"), [("all", 4), ("last", 3)])
@settings(deadline=None, max_examples=30)
@given(losses=st.lists(st.sampled_from([1.0, 1.2, 1.6, 2.0, 4.0]), min_size=1, max_size=40))
def test_swad_stores_a_constant_number_of_copies(no_start: NoStart, before: int, losses: list[float]) -> None:
    average = SwadAverage(no_start=no_start)
    for t, loss in enumerate(losses):
        for state in (t, t + 0.5):
            average.update([torch.full((7,), float(state))])
        state_of = average.state_dict()
        assert copies(state_of) <= (before if state_of["threshold"] is None else 3)
        average.validated(loss)


def test_the_copies_that_swad_is_said_to_store_are_stored() -> None:
    average = SwadAverage()
    found = []
    for loss in (9.0, 8.0, 7.0, 6.0, 5.0, 5.0, 9.0, 5.0):
        average.update([torch.ones(7)])
        found.append(copies(average.state_dict()))
        average.validated(loss)
    # 5, 5, 9 has the start; the threshold is 1.3 * 19 / 3.
    assert found == [1, 2, 3, 4, 4, 4, 4, 3]


def copies(value: object) -> float:
    if isinstance(value, Tensor):
        return value.numel() / 7
    if isinstance(value, dict):
        value = list(value.values())
    return sum(copies(part) for part in value) if isinstance(value, list | tuple) else 0


@settings(deadline=None, max_examples=40)
@given(
    losses=st.lists(st.sampled_from([1.0, 1.2, 1.6, 2.0, 4.0]), min_size=1, max_size=16),
    cut=st.integers(0, 31),
    no_end=st.sampled_from(["keep", "drop"]),
)
@example(losses=[4.0, 2.0, 1.6, 1.2], cut=6, no_end="keep")
def test_a_restart_of_swad_changes_no_bit(losses: list[float], cut: int, no_end: NoEnd) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(5, generator=generator) for _ in losses]
    through, resumed = SwadAverage(2, 2, 1.3, no_end=no_end), SwadAverage(2, 2, 1.3, no_end=no_end)
    # Events are updates and losses in turn; the last one at least comes after the restart.
    events = 2 * len(losses)
    cut = min(cut, events - 1)
    for event in range(events):
        if event == cut:
            file = io.BytesIO()
            torch.save(through.state_dict(), file)
            file.seek(0)
            resumed.load_state_dict(torch.load(file, weights_only=True))
        for average in [through, resumed] if event >= cut else [through]:
            if event % 2:
                average.validated(losses[event // 2])
            else:
                average.update([states[event // 2]])
    assert torch.equal(resumed.value()[0], through.value()[0])
    assert resumed.count == through.count
    assert resumed.ended == through.ended


def test_a_saved_state_of_swad_is_not_touched_by_what_follows() -> None:
    average = SwadAverage(1, 2)
    valued(average, [(1.0, 1.0)])
    saved, value = average.state_dict(), average.value()[0]
    valued(average, [(9.0, 1.0)])
    again = SwadAverage(1, 2)
    again.load_state_dict(saved)
    assert again.value()[0].item() == value.item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_swad_in_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    average = SwadAverage()
    trajectory = [(1.0, 1.0)] * 900 + [(1.25, 1.0)] * 100
    assert valued(average, trajectory, dtype) == pytest.approx(1.025, abs=1e-6)
    assert average.value()[0].dtype == torch.float32


def test_equal_states_are_a_fixed_point_of_swad() -> None:
    average = SwadAverage(2, 2)
    for loss in (9.0, 1.0, 1.0, 4.0, 1.0, 4.0):
        average.update([torch.tensor(1 / 3)])
        average.validated(loss)
    assert average.count == 5
    assert torch.equal(average.value()[0], torch.tensor(1 / 3))


def test_swad_refuses_what_it_cannot_use() -> None:
    average = SwadAverage()
    with pytest.raises(ConfigError, match=re.escape("The history is empty; call `update` before `value`.")):
        average.value()
    message = "There is nothing to validate; call `update` before `validated`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        average.validated(1.0)
    message = "Expected floating-point tensors, but got one of `torch.int64`; leave counters out."
    with pytest.raises(ConfigError, match=re.escape(message)):
        average.update([torch.tensor(3)])
    average.update([torch.ones(1)])
    message = "Expected a validation loss to be a finite number, but got `nan`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        average.validated(math.nan)
    assert average.count == 1
    average.validated(1.0)
    message = "Expected argument `r` to be at least 1, but got `0.3`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        SwadAverage(r=0.3)


@pytest.mark.gpu
def test_a_swad_state_restored_on_the_cpu_moves_to_the_weights() -> None:
    average, restored = SwadAverage(2, 3), SwadAverage(2, 3)
    valued(average, [(1.0, 1.0), (1.0, 1.0), (4.0, 9.0)])
    restored.load_state_dict(average.state_dict())
    for loss in (9.0, 1.0):
        restored.update([torch.tensor([4.0], device="cuda", dtype=torch.float64)])
        restored.validated(loss)
    assert restored.value()[0].is_cuda
    assert restored.value()[0].item() == pytest.approx(14 / 5)


def test_the_last_state_enters_swad_s_average() -> None:
    assert valued(SwadAverage(), [(0.0, 1.0), (0.0, 1.0), (3.0, 1.0)]) == 1.0
