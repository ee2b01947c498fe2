"""A cell as a strip: a dot for the mean, a whisker for its error, and a small dot for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.many.axis import Axis
from hamdg.report.table import MISSING
from hamdg.report.tables.grid import number, signed_number
from hamdg.report.tables.model import Cell, Metric


@dataclass(frozen=True)
class Strip:
    """What is drawn of one number, in per cent of the axis's length.

    Args:
        text: What it says, in words.
        at: The mean; `None` where it is missing.
        low: The whisker's lower end; `None` for a single number.
        high: Its upper end.
        seeds: The numbers that the mean is of; empty for a single one.
        is_below: Whether the mean lies below the axis.
    """

    text: str
    at: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: Sequence[float] = ()
    is_below: bool = False


def scaled(value: float, metric: Metric) -> float:
    """Return a value as it is shown: shares in per cent."""
    return 100.0 * value if metric.is_share else value


def shown(value: float | None, metric: Metric) -> str:
    """Return a value as `hamdg table` shows it: shares in per cent, without the sign."""
    return MISSING if value is None else number(value, metric)


def shown_difference(value: float | None, metric: Metric) -> str:
    """Return a difference as text, always with its sign: in points where the values are shares."""
    return MISSING if value is None else signed_number(value, metric)


def unit(metric: Metric) -> str:
    """Return what stands after a value, a space included."""
    return " %" if metric.is_share else ""


def mean_strip(cell: Cell, axis: Axis, metric: Metric, name: str) -> Strip:
    """Return the strip of a cell's mean.

    Args:
        cell: The cell.
        axis: Where it is drawn.
        metric: What its number is.
        name: What it is called in words.
    """
    if cell.mean is None:
        return Strip(f"{name}: {cell.missing or 'missing'}")
    seeds = [scaled(value, metric) for _, value in sorted(cell.values_by_seed.items())]
    said = f"{name}: {shown(cell.mean, metric)}{unit(metric)}"
    if cell.standard_error is None:
        return Strip(f"{said}, one seed", axis.at(scaled(cell.mean, metric)), is_below=_below(cell, axis, metric))
    said += f" ± {shown(cell.standard_error, metric)}; seeds {', '.join(f'{value:.1f}' for value in seeds)}"
    if _below(cell, axis, metric):
        return Strip(f"{said}; below the axis", 0.0, is_below=True)
    mean, error = scaled(cell.mean, metric), scaled(cell.standard_error, metric)
    inside = [axis.at(value) for value in seeds if axis.shows(value)]
    return Strip(said, axis.at(mean), axis.at(mean - error), axis.at(mean + error), inside)


def _below(cell: Cell, axis: Axis, metric: Metric) -> bool:
    return axis.is_cut and cell.mean is not None and not axis.shows(scaled(cell.mean, metric))
