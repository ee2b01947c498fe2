from __future__ import annotations

import math

import pytest

from hamdg.report.many.axis import difference_axis, value_axis


def test_an_axis_is_as_long_as_its_values_need() -> None:
    axis = value_axis([70.0, 74.0, 77.0], [69.0, 79.0])
    assert (axis.low, axis.high) == (68.5, 79.5)
    assert [tick.text for tick in axis.ticks] == ["70", "75"]
    assert not axis.is_cut
    assert axis.at(68.5) == 0.0
    assert axis.at(74.0) == pytest.approx(50.0)
    assert axis.at(90.0) == 100.0


def test_few_values_far_below_all_others_are_cut_off() -> None:
    axis = value_axis([14.0, 75.5, 76.0, 77.0, 77.4, 78.0], [13.0, 78.5])
    assert axis.is_cut
    assert axis.low > 70.0
    assert not axis.shows(14.0)
    assert axis.shows(76.0)


def test_nothing_is_cut_where_low_is_good() -> None:
    assert not value_axis([14.0, 75.5, 76.0, 77.0, 77.4, 78.0], [], may_cut=False).is_cut


def test_nothing_is_cut_where_there_are_few_values() -> None:
    assert not value_axis([14.0, 77.0, 78.0], []).is_cut


def test_an_axis_does_not_pass_a_hundred_per_cent() -> None:
    assert value_axis([98.0, 99.5], [97.0, 100.0]).high == 100.0


def test_what_is_no_share_has_room_for_all_that_is_drawn() -> None:
    axis = value_axis([5000.0, 8000.0], [4800.0, 9000.0], highest=math.inf)
    assert axis.shows(9000.0)
    assert 0.0 < axis.at(8000.0) < axis.at(9000.0) < 100.0


def test_equal_values_have_an_axis() -> None:
    axis = value_axis([50.0], [])
    assert axis.low < 50.0 < axis.high


def test_differences_have_zero_on_their_axis() -> None:
    axis = difference_axis([2.0, 5.0])
    assert (axis.low, axis.high) == (-0.25, 5.25)
    assert [tick.text for tick in axis.ticks if tick.is_zero] == ["0"]
    assert difference_axis([-3.0, -1.0]).at(0.0) > 90.0
    assert difference_axis([0.0]).at(0.0) == 50.0
