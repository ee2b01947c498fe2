from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.functional.trajectory import NoEnd, NoStart
from tests.merge.tools import EDGE_SHAPES

EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}
# Losses that are multiples of 1/8 are often equal, and their means are exact.
LOSSES = st.lists(st.integers(1, 40).map(lambda eighths: eighths / 8), min_size=1, max_size=24)


@dataclass
class Given:
    """Losses by step."""

    losses: list[float]

    def loss(self, source: str) -> float:
        return self.losses[int(source.removeprefix("step-"))]


def counted(
    losses: list[float],
    n_s: int = 3,
    n_e: int = 6,
    r: float = 1.3,
    no_start: NoStart = "all",
    no_end: NoEnd = "keep",
) -> list[float]:
    """Return how often every checkpoint is in the sum, read off models that are the columns of a unit matrix."""
    unit = torch.eye(len(losses), dtype=torch.float64)
    models = {f"step-{t}": {"w": unit[t]} for t in range(len(losses))}
    options = {"n_s": n_s, "n_e": n_e, "r": r, "no_start": no_start, "no_end": no_end}
    weights: Tensor = merge_with("swad", models, None, options, MergeSettings(evidence=Given(losses)))["w"]
    return [round(float(weight), 9) for weight in weights / weights.max()]


def between(start: int, end: int, total: int) -> list[float]:
    return [float(start <= t <= end) for t in range(total)]


def by_the_paper(losses: list[float], n_s: int, n_e: int, r: float) -> tuple[int | None, int | None]:
    """Return start and end as the paper's algorithm finds them, window by window."""
    start: int | None = None
    threshold = 0.0
    for i in range(len(losses)):
        if start is None:
            window = losses[i - n_s + 1 : i + 1] if i >= n_s - 1 else []
            if window and window[0] == min(window):
                start = i - n_s + 1
                threshold = r * sum(window) / n_s
        elif i >= n_e - 1 and min(losses[i - n_e + 1 : i + 1]) > threshold:
            return start, i - n_e
    return start, None


def test_by_hand() -> None:
    # 2 is the first loss that the next two do not undercut; the threshold is 1.2 * (2 + 3 + 4) / 3 = 3.6. The lone 4 in
    # the middle ends nothing; 4 and 5 do.
    losses = [5.0, 4.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 1.0]
    models = {f"step-{t}": {"w": torch.tensor([2.0**t])} for t in range(9)}
    merged = merge("swad", models, evidence=Given(losses), n_s=3, n_e=2, r=1.2)
    assert merged["w"].item() == (4 + 8 + 16 + 32) / 4


@settings(deadline=None, max_examples=200)
@given(
    losses=LOSSES,
    n_s=st.integers(1, 5),
    n_e=st.integers(1, 5),
    r=st.sampled_from([1.0, 1.25, 1.5]),
    no_start=st.sampled_from(["all", "last"]),
    no_end=st.sampled_from(["keep", "drop"]),
)
def test_equals_the_paper_s_algorithm(
    losses: list[float], n_s: int, n_e: int, r: float, no_start: NoStart, no_end: NoEnd
) -> None:
    start, end = by_the_paper(losses, n_s, n_e, r)
    total = len(losses)
    if start is None:
        expected = between(0 if no_start == "all" else total - 1, total, total)
    else:
        last = total - 1 if end is None else end
        threshold = r * sum(losses[start : start + n_s]) / n_s
        # Fewer than n_e may be above the threshold at the end without being the end.
        while end is None and no_end == "drop" and losses[last] > threshold and total - last < n_e:
            last -= 1
        expected = between(start, last, total)
    assert counted(losses, n_s, n_e, r, no_start, no_end) == expected


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {f"step-{t}": {"w": torch.randn(shape, generator=generator).to(dtype)} for t in range(4)}
    merged = merge("swad", models, evidence=Given([9.0, 1.0, 1.0, 1.0]))["w"]
    expected = sum((models[f"step-{t}"]["w"].double() / 3 for t in (1, 2, 3)), torch.zeros(shape, dtype=torch.float64))
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


def test_no_segment_is_counted_twice_where_more_losses_end_than_start() -> None:
    # The branch of the released code with n_e > n_s adds the start to the average a second time.
    assert counted([1.0, 1.1, 1.2]) == [1, 1, 1]
    assert counted([1.0, 1.1, 1.2, 1.1, 1.0, 1.1, 1.2, 1.1]) == [1] * 8
    assert counted([9.0, 8.0, 7.0, 1.0, 1.1, 1.2, 1.1, 9.0, 9.0]) == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    # Nor does it reach back to segments before the start, even if they are below the threshold.
    assert counted([1.1, 1.05, 1.02, 1.0, 1.1, 1.2]) == [0, 0, 0, 1, 1, 1]


def test_the_threshold_is_r_times_the_mean_loss_not_one_plus_r() -> None:
    # With r = 1.3 the threshold is 1.3: losses of 1.4 end the valley; 1 + r would let them pass.
    assert counted([1.0, 1.0, 1.0, 1.4, 1.4], n_e=2) == [1, 1, 1, 0, 0]
    assert counted([1.0, 1.0, 1.0, 1.25, 1.25], n_e=2) == [1, 1, 1, 1, 1]
    # The 1.2 of VLCS.
    assert counted([1.0, 1.0, 1.0, 1.25, 1.25], n_e=2, r=1.2) == [1, 1, 1, 0, 0]


def test_the_threshold_itself_is_inside() -> None:
    assert counted([1.0, 1.0, 1.0, 1.5, 1.5, 1.5], n_e=2, r=1.5) == [1] * 6
    assert counted([1.0, 1.0, 1.0], r=1.0, no_end="drop") == [1] * 3


def test_where_the_end_is_never_found_the_last_checkpoint_enters_the_average() -> None:
    losses = [5.0, 1.0, 1.0, 1.0, 9.0, 1.0, 9.0, 9.0]
    assert counted(losses, n_e=3) == [0, 1, 1, 1, 1, 1, 1, 1]
    assert counted(losses, n_e=3, no_end="drop") == [0, 1, 1, 1, 1, 1, 0, 0]


def test_where_the_start_is_never_found_all_or_the_last_checkpoint_is_taken() -> None:
    falling = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert counted(falling) == [1] * 5
    assert counted(falling, no_start="last") == [0, 0, 0, 0, 1]
    assert counted([1.0, 2.0]) == [1, 1]
    assert counted([1.0], no_start="last") == [1]


def test_checkpoints_come_in_the_order_of_their_numbers() -> None:
    # Losses 9, 1, 1, 1 in the order 2, 10, 100, 1000: the alphabet would put step-2 last.
    losses = {"step-2": 9.0, "step-10": 1.0, "step-100": 1.0, "step-1000": 1.0}

    class Named:
        def loss(self, source: str) -> float:
            return losses[source]

    models = {name: {"w": torch.tensor([float(name == "step-2")])} for name in sorted(losses)}
    assert merge("swad", models, evidence=Named())["w"].item() == 0.0
    backwards = {name: models[name] for name in reversed(models)}
    assert merge("swad", backwards, evidence=Named())["w"].item() == 0.0


def test_equal_checkpoints_and_entries_keep_their_bits() -> None:
    same = torch.tensor([1 / 3, 0.1])
    assert torch.equal(merge("swad", {"1": {"w": same}, "2": {"w": same}}, evidence=Given([1.0] * 3))["w"], same)
    moved = {f"{t}": {"w": torch.tensor([1 / 3, float(t)])} for t in range(9)}
    assert merge("swad", moved, evidence=Given([1.0] * 9))["w"][0] == same[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_trajectory_in_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    models = {f"step-{t}": {"w": torch.tensor([1.0 if t < 180 else 1.25], dtype=dtype)} for t in range(200)}
    merged = merge("swad", models, evidence=Given([1.0] * 200), dtype=torch.float32)["w"].item()
    assert merged == pytest.approx(1.025, abs=1e-6)


def test_buffers_are_pooled_over_the_checkpoints_that_count() -> None:
    models = {
        f"step-{t}": {
            "bn.num_batches_tracked": torch.tensor(10 * t + 10),
            "bn.running_mean": torch.tensor([float(t)]),
            "bn.running_var": torch.tensor([1.0]),
            "bn.weight": torch.tensor([float(t)]),
            "ids": torch.arange(3),
        }
        for t in range(4)
    }
    merged = merge("swad", models, evidence=Given([9.0, 8.0, 1.0, 1.0]), n_s=2)
    assert merged["bn.num_batches_tracked"].item() == 35
    assert merged["bn.num_batches_tracked"].dtype == torch.int64
    assert merged["bn.running_mean"].tolist() == pytest.approx([2.5])
    assert merged["ids"].tolist() == [0, 1, 2]


def test_losses_are_asked_for() -> None:
    message = (
        "Merge method `swad` needs losses: give `evidence`, an object with the method `loss` "
        "(`hamdg.merge.evidence.Losses`)."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("swad", {"step-1": {"w": torch.ones(1)}})


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_named(loss: float) -> None:
    message = f"Checkpoint `step-1`: Expected a validation loss to be a finite number, but got `{loss}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        counted([1.0, loss, 2.0])


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("n_s", 0, "an integer of at least 1"),
        ("n_e", 1.5, "an integer of at least 1"),
        ("r", 0.3, "a number of at least 1"),
        ("no_start", "first", "one of `all`, `last`"),
        ("no_end", "stop", "one of `keep`, `drop`"),
    ],
)
def test_wrong_options(option: Literal["n_s", "n_e", "r", "no_start", "no_end"], value: object, expected: str) -> None:
    message = f"Expected argument `{option}` to be {expected}, but got `{value!r}`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with(
            "swad", {"1": {"w": torch.ones(1)}}, None, {option: value}, MergeSettings(evidence=Given([1.0, 1.0]))
        )
