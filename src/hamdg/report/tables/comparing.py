"""Rows compared with each other: differences to a baseline, the best of a column, and what is tied with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hamdg.report.estimates import differ, paired_difference
from hamdg.report.tables.model import Cell, Metric

Rows = list[list[Cell]]
# What rows have in common that are compared with each other: benchmark, condition, ...
Place = tuple[str, ...]


def compared(cells: Rows, bases: Sequence[int | None]) -> Rows:
    """Return the cells with their differences to the baseline's in the same column.

    Args:
        cells: The cells, by row and column.
        bases: The number of each row's baseline; `None` for none.
    """
    return [
        [
            cell if base in (None, number) else _compared(cell, cells[base or 0][column])
            for column, cell in enumerate(row)
        ]
        for number, (row, base) in enumerate(zip(cells, bases, strict=True))
    ]


def baselines(names: Sequence[Sequence[str]], places: Sequence[Place], name: str) -> list[int | None]:
    """Return the number of each row's baseline: the row of that name of the same place; `None` where there is none.

    Args:
        names: What each row can be called, the surest name first.
        places: Which of them are compared.
        name: The baseline's name; empty for none.
    """
    found: dict[Place, int] = {}
    levels = max((len(own) for own in names), default=0) if name else 0
    for level in range(levels):
        for number, (own, place) in enumerate(zip(names, places, strict=True)):
            if level < len(own) and own[level].casefold() == name.casefold():
                found.setdefault(place, number)
    return [found.get(place) for place in places]


def marked(cells: Rows, places: Sequence[Place], metric: Metric) -> Rows:
    """Return the cells with the best of each column marked among its rows of one place, and what is tied with it."""
    if metric.higher_is_better is None:
        return cells
    sign = 1.0 if metric.higher_is_better else -1.0
    done = [list(row) for row in cells]
    for place in dict.fromkeys(places):
        own = [number for number, one in enumerate(places) if one == place]
        for column in range(len(cells[0]) if cells else 0):
            there = {number: mean * sign for number in own if (mean := cells[number][column].mean) is not None}
            if len(there) < 2:
                continue
            best = max(there, key=lambda number: there[number])
            for number in there:
                done[number][column] = _marked(cells[number][column], cells[best][column])
    return done


def _marked(cell: Cell, best: Cell) -> Cell:
    # Which of two equal ones comes first says nothing.
    if cell.mean == best.mean:
        return replace(cell, is_best=True)
    return replace(cell, is_tied=differ(cell.pairs, best.pairs) is False)


def _compared(cell: Cell, base: Cell) -> Cell:
    if cell.mean is None or base.mean is None:
        return cell
    paired = {trial: value - base.values[trial] for trial, value in cell.values.items() if trial in base.values}
    return replace(cell, difference=paired_difference(cell.pairs, base.pairs), paired=paired)
