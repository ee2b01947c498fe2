"""Paired differences to the baseline, drawn with their intervals and said in a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.report.estimates import Difference
from hamdg.report.many.axis import Axis, difference_axis
from hamdg.report.many.headline import main_cells, main_column, ranked
from hamdg.report.many.strips import Strip, scaled, shown_difference
from hamdg.report.tables.model import Metric, Table, Trial

# Of a single pair.
UNKNOWN = "not testable"


@dataclass(frozen=True)
class DifferenceLine:
    """A method's difference to another.

    Args:
        label: The method, or what was changed.
        strip: Mean, interval and single differences as they are drawn.
        text: The mean.
        interval: The interval.
        n: Number of pairs.
        order: What it is sorted by.
        reading: What it says: `better`, `worse`, `not distinguishable`, `not testable`.
    """

    label: str
    strip: Strip
    text: str
    interval: str
    n: int
    order: str
    reading: str


@dataclass(frozen=True)
class Differences:
    """Lines on one axis."""

    axis: Axis
    lines: Sequence[DifferenceLine]


def differences(table: Table) -> Differences | None:
    """Return the difference of every row to the baseline, from the best to the worst; `None` where there is none."""
    cells = main_cells(table)
    found = [
        (table.rows[row].label, one, [pair for _, pair in sorted(cells[row].paired.items())])
        for row in ranked(table)
        if (one := cells[row].difference) is not None
    ]
    return drawn(found, table.metric)


def drawn(found: Sequence[tuple[str, Difference, Sequence[float]]], metric: Metric) -> Differences | None:
    """Return differences as they are drawn, in their order.

    Args:
        found: Labels, differences, and the single numbers that each is the mean of.
        metric: What they are of.
    """
    if not found:
        return None
    ends = [
        end
        for _, one, pairs in found
        for end in (
            one.mean,
            one.low if one.low is not None else one.mean,
            one.high if one.high is not None else one.mean,
            *pairs,
        )
    ]
    axis = difference_axis([scaled(end, metric) for end in ends])
    return Differences(axis, [_line(label, one, pairs, axis, metric) for label, one, pairs in found])


def reading(one: Difference, metric: Metric) -> str:
    """Return in a word or two what a difference says."""
    if one.low is None or one.high is None:
        return UNKNOWN
    if one.low <= 0.0 <= one.high:
        return "not distinguishable"
    if metric.higher_is_better is None:
        return "higher" if one.mean > 0.0 else "lower"
    return "better" if (one.mean > 0.0) == metric.higher_is_better else "worse"


def interval_text(one: Difference, metric: Metric) -> str:
    """Return an interval as text; empty where there is none."""
    if one.low is None or one.high is None:
        return ""
    return f"{shown_difference(one.low, metric)} to {shown_difference(one.high, metric)}"


def paired(values: Mapping[Trial, float], others: Mapping[Trial, float]) -> list[float]:
    """Return the differences, trial by trial."""
    return [values[trial] - others[trial] for trial in sorted(values.keys() & others.keys())]


def comparison_place(table: Table) -> str:
    """Return what is compared: `on average`, or the name of the only column."""
    column = table.columns[main_column(table)]
    return "on average" if column.is_average else f"on {column.label}"


def _line(label: str, one: Difference, pairs: Sequence[float], axis: Axis, metric: Metric) -> DifferenceLine:
    text, interval = shown_difference(one.mean, metric), interval_text(one, metric)
    said = f"{label}: {text}" + (f", 95 % interval {interval}" if interval else "")
    ends = [None if end is None else axis.at(scaled(end, metric)) for end in (one.low, one.high)]
    seeds = [axis.at(scaled(value, metric)) for value in pairs] if one.n > 1 else []
    strip = Strip(said, axis.at(scaled(one.mean, metric)), ends[0], ends[1], seeds)
    return DifferenceLine(label, strip, text, interval, one.n, f"{one.mean:.9g}", reading(one, metric))
