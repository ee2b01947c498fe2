"""A table as rows of short texts, for the formats that people read; each format brings its own marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.estimates import Difference
from hamdg.report.table import MINUS, MISSING, percent, signed_points
from hamdg.report.tables.model import Cell, Cost, Heading, Metric, Table
from hamdg.report.tables.wording import marked_label

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True)
class Marks:
    """How the best numbers are marked, as patterns with one `{}`.

    Args:
        best: The best.
        tied: Those that are tied with it.
    """

    best: str
    tied: str


@dataclass(frozen=True)
class Grid:
    """Texts of a table.

    Args:
        title: What stands above it.
        header: Texts of the first line.
        lines: Texts of the others; the first of each names the row.
    """

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]


def grids(table: Table, marks: Marks) -> list[Grid]:
    """Return the texts of a table: its means, and differences to its baseline if it has one."""
    corner = ", ".join(table.row_keys)
    names = [marked_label(row.label, row.target_data) for row in table.rows]
    tops = [marked_label(column.label, column.target_data) for column in table.columns]
    means = [
        [
            *(name, *(cell_text(cell, table.metric, marks) for cell in row), seeds(row, table.columns)),
            *(cost_text(cost, number) for cost in table.costs),
        ]
        for number, (name, row) in enumerate(zip(names, table.cells, strict=True))
    ]
    found = [Grid(table.title, [corner, *tops, "n", *(cost.label for cost in table.costs)], means)]
    if table.baseline:
        differences = [
            [name, *(difference_text(cell.difference, table.metric) for cell in row)]
            for name, row in zip(names, table.cells, strict=True)
        ]
        unit = ", points" if table.metric.is_share else ""
        found.append(Grid(f"Difference to {table.baseline}{unit} [95 % interval]", [corner, *tops], differences))
    return found


def cell_text(cell: Cell, metric: Metric, marks: Marks) -> str:
    """Return a mean with its error and its mark; a dash where it is missing."""
    if cell.mean is None:
        return MISSING
    error = f" {PLUS_MINUS} {number(cell.standard_error, metric)}" if cell.standard_error is not None else ""
    mark = marks.best if cell.is_best else marks.tied if cell.is_tied else "{}"
    return mark.format(number(cell.mean, metric)) + error


def cost_text(cost: Cost, row: int) -> str:
    """Return what a row costs; a dash where that is unknown."""
    value = cost.values[row]
    return MISSING if value is None else f"{value:,.{cost.digits}f}"


def difference_text(difference: Difference | None, metric: Metric) -> str:
    """Return a difference with its interval; a dash where there is none."""
    if difference is None:
        return MISSING
    if difference.low is None or difference.high is None:
        return signed_number(difference.mean, metric)
    ends = (signed_number(end, metric) for end in (difference.low, difference.high))
    return f"{signed_number(difference.mean, metric)} [{', '.join(ends)}]"


def number(value: float, metric: Metric) -> str:
    """Return a number in the table's unit."""
    if metric.is_share:
        return percent(value)
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def seeds(row: Sequence[Cell], columns: Sequence[Heading]) -> str:
    """Return of how many seeds a row's numbers are; of averages only if there is nothing else. A dash for no number."""
    cells = list(zip(row, columns, strict=True))
    counts = {cell.n for cell, column in cells if cell.n and not column.is_average} or {cell.n for cell in row}
    low, high = min(counts), max(counts)
    if high == 0:
        return MISSING
    return str(low) if low == high else f"{low} to {high}"


def signed_number(value: float, metric: Metric) -> str:
    """Return a difference in the table's unit, always with its sign."""
    if metric.is_share:
        return signed_points(value)
    return f"{value:+,.1f}".replace("-", MINUS)
