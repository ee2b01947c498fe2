from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamdg.report.charts import HEIGHT, MAX_POINTS, WIDTH, Line, colors, padded_limits, pair_name, plot, smoothed, ticks

numbers = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def points_of(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Return the points of all lines as they are drawn."""
    drawn = plot(lines)
    assert drawn is not None
    pairs = [pair.split(",") for stroke in drawn.strokes for pair in stroke.points.split()]
    return [(float(x), float(y)) for x, y in pairs]


@given(st.lists(numbers, min_size=1, max_size=20))
def test_limits_hold_the_data_and_have_ticks(values: Sequence[float]) -> None:
    low, high = padded_limits(values)
    assert low <= min(values) <= max(values) <= high
    assert low < high
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in found)


def test_ticks_are_round() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_limits_of_a_positive_quantity_start_at_zero_or_above() -> None:
    assert padded_limits([0.01, 5.0])[0] == 0.0


def test_smoothing_by_hand() -> None:
    assert smoothed([0.0, 3.0, 6.0, 0.0], 3) == [1.5, 3.0, 3.0, 3.0]


@given(st.floats(-5, 5), st.integers(1, 40))
def test_smoothing_leaves_a_constant_alone(value: float, length: int) -> None:
    assert smoothed([value] * length, 9) == pytest.approx([value] * length)


def test_points_lie_inside_the_frame_and_higher_values_lie_higher() -> None:
    points = points_of([Line("a", [1, 2, 3], [0.5, -0.2, 0.9], 0)])
    assert len(points) == 3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert points[2][1] < points[0][1] < points[1][1]


def test_values_that_are_not_numbers_are_left_out() -> None:
    assert len(points_of([Line("a", [1, 2, 3], [0.5, math.nan, 0.9], 0)])) == 2


def test_long_series_are_thinned_and_keep_their_ends() -> None:
    steps = range(10_000)
    points = points_of([Line("a", steps, [float(step) for step in steps], 0)])
    assert len(points) <= MAX_POINTS + 1
    assert points[-1][1] == min(y for _, y in points)


def test_a_single_point_is_a_dot() -> None:
    drawn = plot([Line("a", [5], [0.5], 0), Line("b", [1, 2], [0.5, 0.6], 0)])
    assert drawn is not None
    assert [stroke.only is not None for stroke in drawn.strokes] == [True, False]


@pytest.mark.parametrize(("last", "percent", "top"), [(98.0, True, "100"), (98.0, False, "120"), (104.0, True, "120")])
def test_an_axis_of_shares_ends_at_all(last: float, percent: bool, top: str) -> None:
    drawn = plot([Line("a", [0, 1], [40.0, last], 0)], percent=percent)
    assert drawn is not None
    assert drawn.value_ticks[-1].text == top


def test_nothing_to_draw_gives_nothing() -> None:
    assert plot([]) is plot([Line("a", [], [], 0)]) is None


def test_palette_repeats_when_it_is_used_up() -> None:
    assert colors([str(index) for index in range(9)])["8"] == 0


def test_pair_name() -> None:
    assert pair_name("a|b") == "a / b"


@pytest.mark.parametrize("value", [0.25, 0.0, -3.0, 1e9, 1e-9])
def test_values_that_differ_by_rounding_alone_are_drawn_as_a_constant(value: float) -> None:
    low, high = padded_limits([value, math.nextafter(value, math.inf)])
    assert low < value < high or low == value == 0.0 < high
    assert len(ticks(low, high)) > 1
