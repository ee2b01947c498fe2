"""The headline table: a line a method from the best to the worst, with what is drawn of it and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.many.axis import Axis, value_axis
from hamdg.report.many.strips import Strip, mean_strip, scaled, shown
from hamdg.report.table import MISSING
from hamdg.report.tables.grid import seeds
from hamdg.report.tables.model import Cell, Heading, Metric, Table


@dataclass(frozen=True)
class Number:
    """A number of the table.

    Args:
        text: The mean.
        error: Its standard error; empty for a single seed.
        order: What it is sorted by; empty where it is missing.
        mark: `best`, `tied` or nothing.
        notes: Letters of the notes below the table.
    """

    text: str
    error: str
    order: str
    mark: str
    notes: str


@dataclass(frozen=True)
class Line:
    """A method.

    Args:
        head: Its heading.
        strip: Its main number as it is drawn.
        numbers: Its numbers, the main one first.
        n: Numbers of seeds.
        strips: All its other numbers as they are drawn.
        is_best: Whether its main number is the best.
    """

    head: Heading
    strip: Strip
    numbers: Sequence[Number]
    n: str
    strips: Sequence[Strip]
    is_best: bool


@dataclass(frozen=True)
class Headline:
    """The table.

    Args:
        columns: Heads of the numbers, the main one first.
        axis: Of the main number; `None` where all are missing.
        axes: Of the other numbers.
        lines: The methods, from the best to the worst.
        notes: What the letters at numbers mean, by letter.
        descending: Whether the highest is the best.
    """

    columns: Sequence[Heading]
    axis: Axis | None
    axes: Sequence[Axis | None]
    lines: Sequence[Line]
    notes: dict[str, str]
    descending: bool


def headline(table: Table) -> Headline:
    """Return the headline table of a table."""
    order = column_order(table)
    columns = [table.columns[index] for index in order]
    axes = [_axis([cells[index] for cells in table.cells], table.metric) for index in order]
    notes = _Notes()
    lines = [_line(table, row, order, axes, notes) for row in ranked(table)]
    return Headline(columns, axes[0], axes[1:], lines, notes.texts, table.metric.higher_is_better is not False)


def main_column(table: Table) -> int:
    """Return the column that methods are ranked by: their average, or the first."""
    return next((index for index, column in enumerate(table.columns) if column.is_average), 0)


def column_order(table: Table) -> list[int]:
    """Return the columns, the main one first."""
    main = main_column(table)
    return [main, *(index for index in range(len(table.columns)) if index != main)]


def main_cells(table: Table) -> list[Cell]:
    """Return every row's main number."""
    return [cells[main_column(table)] for cells in table.cells]


def ranked(table: Table) -> list[int]:
    """Return the rows from the best to the worst by their main number; rows without one come last."""
    sign = 1.0 if table.metric.higher_is_better is False else -1.0
    means = [math.inf if cell.mean is None else sign * cell.mean for cell in main_cells(table)]
    return sorted(range(len(table.rows)), key=lambda row: means[row])


class _Notes:
    """Reasons for what is missing, each with a letter."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def letter(self, text: str) -> str:
        """Return the letter of a reason; a new one for a new reason."""
        known = next((letter for letter, own in self.texts.items() if own == text), None)
        if known is None:
            number = len(self.texts)
            known = ("" if number < 26 else chr(96 + number // 26)) + chr(97 + number % 26)
            self.texts[known] = text
        return known


def _axis(cells: Sequence[Cell], metric: Metric) -> Axis | None:
    known = [cell for cell in cells if cell.mean is not None]
    if not known:
        return None
    means = [scaled(cell.mean or 0.0, metric) for cell in known]
    errors = [scaled(cell.standard_error or 0.0, metric) for cell in known]
    ends = [end for mean, error in zip(means, errors, strict=True) for end in (mean - error, mean + error)]
    seeds = [scaled(value, metric) for cell in known for value in cell.values_by_seed.values()]
    highest = 100.0 if metric.is_share else math.inf
    return value_axis(means, [*ends, *seeds], metric.higher_is_better is not False, highest)


def _line(table: Table, row: int, order: Sequence[int], axes: Sequence[Axis | None], notes: _Notes) -> Line:
    head, cells = table.rows[row], [table.cells[row][index] for index in order]
    names = [table.columns[index].label for index in order]
    strips = [
        Strip("") if axis is None else mean_strip(cell, axis, table.metric, f"{head.label}, {name}")
        for cell, axis, name in zip(cells, axes, names, strict=True)
    ]
    numbers = [_number(cell, table.metric, notes) for cell in cells]
    return Line(
        head, strips[0], numbers, seeds(cells, [table.columns[index] for index in order]), strips[1:], cells[0].is_best
    )


def _number(cell: Cell, metric: Metric, notes: _Notes) -> Number:
    letters = [notes.letter(text) for text in (cell.missing, cell.incomplete) if text]
    if cell.mean is None:
        return Number(MISSING, "", "", "", ", ".join(letters))
    error = "" if cell.standard_error is None else shown(cell.standard_error, metric)
    mark = "best" if cell.is_best else "tied" if cell.is_tied else ""
    return Number(shown(cell.mean, metric), error, f"{cell.mean:.9g}", mark, ", ".join(letters))
