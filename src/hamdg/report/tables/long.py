"""Tables for programs: one line a number as CSV, and plain data for JSON; nothing is rounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from hamdg.json_text import json_text
from hamdg.report.tables.model import Cell, Heading, Table

_HEADER = (
    *("row", "column", "is_average", "mean", "standard_error", "n", "is_best", "is_tied"),
    *("baseline", "difference", "low", "high", "pairs", "values", "chosen", "missing", "incomplete"),
)


def as_csv(tables: Sequence[Table]) -> str:
    """Return tables in long format: a line for each row and column, with what each says by key; fractions of 1.

    Without the last line's end, as all texts of tables.
    """
    keys = list(dict.fromkeys(key for table in tables for key in _keys(table)))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["metric", *keys, *_HEADER])
    for table in tables:
        for row, cells in zip(table.rows, table.cells, strict=True):
            for column, cell in zip(table.columns, cells, strict=True):
                said = {**table.place, **row.values, **column.values}
                line = [table.metric.name, *(said.get(key, "") for key in keys)]
                writer.writerow([*line, *_numbers(table, row, column, cell)])
        for cost in table.costs:
            for row, value in zip(table.rows, cost.values, strict=True):
                said = {**table.place, **row.values}
                line = [cost.name, *(said.get(key, "") for key in keys)]
                # A cost has no error and is compared with nothing.
                numbers = _numbers(table, row, Heading({}, cost.label), Cell(mean=value))
                writer.writerow([*line, *numbers])
    return stream.getvalue().removesuffix("\n")


def as_data(tables: Sequence[Table]) -> dict[str, object]:
    """Return tables as plain data, numbers by row and column."""
    return {"tables": [_table(table) for table in tables]}


def as_json(tables: Sequence[Table]) -> str:
    """Return tables as JSON."""
    return json_text(as_data(tables))


def _keys(table: Table) -> list[str]:
    heads = (*table.rows, *table.columns)
    return [*table.place, *(key for head in heads for key in head.values)]


def _numbers(table: Table, row: Heading, column: Heading, cell: Cell) -> list[object]:
    is_average = row.is_average or column.is_average
    mean = [_exact(cell.mean), _exact(cell.standard_error), cell.n, _flag(cell.is_best), _flag(cell.is_tied)]
    difference: list[object] = ["", "", "", ""]
    if (found := cell.difference) is not None:
        difference = [_exact(found.mean), _exact(found.low), _exact(found.high), found.n]
    values = " ".join(f"{seed}:{value!r}" for seed, value in cell.values_by_seed.items())
    chosen = "; ".join(f"{trial.held_out} {trial.seed}: {text}" for trial, text in cell.chosen.items())
    rest = [values, chosen, cell.missing, cell.incomplete]
    return [row.label, column.label, _flag(is_average), *mean, table.baseline, *difference, *rest]


def _exact(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _table(table: Table) -> dict[str, object]:
    return {
        "title": table.title,
        **table.place,
        "metric": asdict(table.metric),
        "row_keys": table.row_keys,
        "column_keys": table.column_keys,
        "rows": [asdict(row) for row in table.rows],
        "columns": [asdict(column) for column in table.columns],
        "cells": [[_cell(cell) for cell in row] for row in table.cells],
        "costs": [asdict(cost) for cost in table.costs],
        "baseline": table.baseline,
        "error": table.error,
        "caption": table.caption,
        "notes": table.notes,
        "problems": table.problems,
    }


def _cell(cell: Cell) -> dict[str, object]:
    return {
        "mean": cell.mean,
        "standard_error": cell.standard_error,
        "n": cell.n,
        "is_best": cell.is_best,
        "is_tied": cell.is_tied,
        "difference": None if cell.difference is None else asdict(cell.difference),
        "missing": cell.missing,
        "incomplete": cell.incomplete,
        "values": [
            {
                **trial._asdict(),
                "value": value,
                **({"difference": cell.paired[trial]} if trial in cell.paired else {}),
                **({"chosen": cell.chosen[trial]} if trial in cell.chosen else {}),
                "run": run.path,
            }
            for (trial, value), run in zip(cell.values.items(), cell.runs, strict=True)
        ],
    }
