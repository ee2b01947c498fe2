from __future__ import annotations

import math

import pytest
from scipy import stats  # type: ignore[import-untyped]

from hamdg.report.estimates import Difference, Estimate, differ, estimate, paired_difference


def keyed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_estimates_by_hand() -> None:
    # Squares of the distances from 3: 4 + 1 + 0 + 9 = 14.
    values = [1.0, 2.0, 3.0, 6.0]
    found = [estimate(values), estimate(values, "population")]
    assert [(one.mean, one.n) for one in found] == [(3.0, 4)] * 2
    assert [one.standard_error for one in found] == pytest.approx([math.sqrt(14 / 3 / 4), math.sqrt(14 / 4 / 4)])
    assert estimate([5.0]) == Estimate(5.0, None, 1)


def test_a_paired_difference_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, error 1/sqrt(3); t(2) reaches to 4.3026527 at 95 %.
    found = paired_difference(keyed(2.0, 4.0, 6.0, 9.0), keyed(1.0, 2.0, 3.0))
    assert found is not None
    half = 4.302652729749464 / math.sqrt(3)
    assert (found.mean, found.n) == (2.0, 3)
    assert [found.low, found.high] == pytest.approx([2 - half, 2 + half])


def test_a_single_pair_has_no_interval() -> None:
    assert paired_difference({1: 0.75}, {1: 0.5, 2: 0.0}) == Difference(0.25, None, None, 1)
    assert paired_difference({1: 0.75}, {2: 0.5}) is None


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.03, 0.1])
def test_the_interval_and_the_test_are_those_of_scipy(spread: float) -> None:
    first = [0.71, 0.75 + spread, 0.69, 0.74 - spread, 0.70]
    second = [0.70, 0.72, 0.68 + spread, 0.70, 0.70]
    known = stats.ttest_rel(first, second)
    interval = known.confidence_interval(0.95)
    found = paired_difference(keyed(*first), keyed(*second))
    assert found is not None
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert differ(keyed(*first), keyed(*second)) is bool(known.pvalue < 0.05)


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1])
def test_without_common_keys_it_is_the_test_of_welch(shift: float) -> None:
    first, second = [0.71, 0.75, 0.69, 0.74], [0.70 - shift, 0.72 - shift, 0.71 - shift]
    known = stats.ttest_ind(first, second, equal_var=False)
    others = {f"other {key}": value for key, value in enumerate(second)}
    assert differ({str(key): value for key, value in enumerate(first)}, others) is bool(known.pvalue < 0.05)


def test_the_same_numbers_do_not_differ_and_constant_ones_do() -> None:
    assert differ(keyed(0.5, 0.6), keyed(0.5, 0.6)) is False
    assert differ(keyed(0.5, 0.6), keyed(0.4, 0.5)) is True
    assert differ({"a": 0.5, "b": 0.5}, {"c": 0.5, "d": 0.5}) is False
    assert differ({"a": 0.5, "b": 0.5}, {"c": 0.4, "d": 0.4}) is True


def test_one_number_is_too_few_to_tell() -> None:
    assert differ({0: 0.5}, {0: 0.4}) is None
    assert differ({0: 0.5}, {1: 0.4, 2: 0.4}) is None
