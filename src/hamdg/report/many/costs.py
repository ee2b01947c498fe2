"""What the methods of a table cost: training time and images, from their runs' records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamdg.report.collection import FoundRun
from hamdg.report.many.differences import comparison_place
from hamdg.report.many.headline import main_cells, ranked
from hamdg.report.many.scatter import Cost, Scatter, scatter
from hamdg.report.many.strips import scaled, shown, unit
from hamdg.report.many.words import several
from hamdg.report.table import MISSING
from hamdg.report.tables.measured import ZERO_SHOT
from hamdg.report.tables.model import Cell, Heading, Table
from hamdg.report.tables.options import MODEL
from hamdg.runs.record import known

WIDE, NARROW = (1064.0, 400.0), (350.0, 340.0)


@dataclass(frozen=True)
class CostRow:
    """A method in the table of costs: texts, and what they are sorted by."""

    label: str
    cells: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CostPart:
    """Cost against accuracy.

    Args:
        title: What the drawing is, in a few words.
        text: What it shows, in words.
        wide: The drawing for screens.
        narrow: The drawing for phones.
        columns: Heads of the table of costs.
        rows: The methods' costs.
    """

    title: str
    text: str
    wide: Scatter
    narrow: Scatter
    columns: Sequence[str]
    rows: Sequence[CostRow]


@dataclass(frozen=True)
class _Method:
    label: str
    cell: Cell
    seconds: float | None
    images: float | None


def cost_part(table: Table) -> CostPart | None:
    """Return cost against accuracy; `None` unless two methods with a result have a cost, and one can be better."""
    higher_is_better = table.metric.higher_is_better
    if higher_is_better is None:
        return None
    cells = main_cells(table)
    methods = [
        _Method(table.rows[row].label, cells[row], *_costs(table.rows[row], cells[row]))
        for row in ranked(table)
        if cells[row].mean is not None
    ]
    timed = [one for one in methods if one.seconds is not None]
    by_time = len(timed) == len([one for one in methods if one.images is not None]) and len(timed) > 1
    if not by_time and len([one for one in methods if one.images is not None]) < 2:
        return None
    name, divisor = _time_unit(max(one.seconds or 0.0 for one in methods)) if by_time else ("thousand images", 1000.0)
    of: Callable[[_Method], float | None] = (lambda one: one.seconds) if by_time else (lambda one: one.images)
    drawn = [_drawn(one, cost / divisor, name, table) for one in methods if (cost := of(one)) is not None]
    free = [
        (
            f"{one.label}, {shown(one.cell.mean, table.metric)}{unit(table.metric)}",
            scaled(one.cell.mean or 0.0, table.metric),
        )
        for one in methods
        if of(one) is None
    ]
    title = f"training time of a run, {name}" if by_time else "images seen in training, thousands"
    titles = (
        title,
        f"{table.metric.label} {comparison_place(table)}{',' * bool(unit(table.metric))}{unit(table.metric)}",
    )
    wide, narrow = (scatter(drawn, free, titles, size, higher_is_better) for size in (WIDE, NARROW))
    text = _text(wide, by_time) + " Names without room are in the table below." * bool(wide.unnamed or narrow.unnamed)
    rows = [_row(one, table) for one in methods]
    return CostPart(f"{table.metric.label} against {title}", text, wide, narrow, _columns(table), rows)


def training_seconds(run: FoundRun) -> float | None:
    """Return how long a run's training took; `None` where no time was kept."""
    seconds = run.summary.train_seconds
    return seconds if seconds is not None and known(seconds) and seconds > 0.0 else None


def _costs(head: Heading, cell: Cell) -> tuple[float | None, float | None]:
    """Return the mean time and number of images of a row's runs; `None` for a model that they did not train."""
    model = head.values.get(MODEL)
    if not cell.runs or model == ZERO_SHOT or any(model in run.summary.controls for run in cell.runs):
        return None, None
    seconds = [found for run in cell.runs if (found := training_seconds(run)) is not None]
    images = [run.summary.images_seen for run in cell.runs if run.summary.images_seen > 0]
    whole = len(cell.runs)
    return (
        math.fsum(seconds) / whole if len(seconds) == whole else None,
        sum(images) / whole if len(images) == whole else None,
    )


def _drawn(one: _Method, cost: float, name: str, table: Table) -> Cost:
    error = one.cell.standard_error
    mean = shown(one.cell.mean, table.metric)
    return Cost(
        one.label,
        cost,
        scaled(one.cell.mean or 0.0, table.metric),
        None if error is None else scaled(error, table.metric),
        f"{one.label}: {mean}{unit(table.metric)}, {cost:,.3g} {name}",
        one.cell.is_best,
    )


def _time_unit(longest: float) -> tuple[str, float]:
    if longest < 180.0:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest < 3 * 3600.0 else ("hours", 3600.0)


def _text(chart: Scatter, by_time: bool) -> str:
    said = "The axis of costs is logarithmic. " if chart.is_logarithmic else ""
    front = [one.method.label for one in sorted(chart.points, key=lambda one: one.x) if one.on_front]
    said = f"No method that costs as much or less is better than {several(front)} (filled). " + said
    if chart.levels:
        said += "The dashed line has no training. "
    said += "Whiskers: ± standard error. " if any(one.low is not None for one in chart.points) else ""
    if chart.below:
        said += f"Far below, and not drawn: {several(chart.below)}. "
    said += "Times are those of the machines that the runs ran on." if by_time else ""
    return said.strip()


def _columns(table: Table) -> list[str]:
    return [table.metric.label, "training, s", "images seen"]


def _row(one: _Method, table: Table) -> CostRow:
    return CostRow(
        one.label,
        [
            (shown(one.cell.mean, table.metric), f"{one.cell.mean:.9g}"),
            (MISSING, "") if one.seconds is None else (f"{one.seconds:,.1f}", f"{one.seconds:.9g}"),
            (MISSING, "") if one.images is None else (f"{one.images:,.0f}", f"{one.images:.9g}"),
        ],
    )
