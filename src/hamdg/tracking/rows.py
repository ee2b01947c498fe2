"""The lines of `metrics.csv`; no Lightning here."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from hamdg.errors import DataError
from hamdg.tracking.keys import MetricKey

# How what spreadsheets run begins; and the quote itself, so that it can be taken off again.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "'")
HEADER = ("step", "source", "layer", "name", "value")


class Measurement(NamedTuple):
    """A measurement, which is one line of `metrics.csv`."""

    step: int
    source: str
    layer: str
    name: str
    value: float


def cells_of(row: Measurement) -> tuple[str, ...]:
    """Return a line's cells; texts that a spreadsheet would take for a formula (`=1+1`) get a quote in front."""
    return (str(row.step), *(_inert(text) for text in (row.source, row.layer, row.name)), repr(row.value))


def row_of(cells: Sequence[str]) -> Measurement:
    """Return what the cells of a line say.

    Raises:
        ValueError: If they are not a measurement.
    """
    step, *texts, value = cells
    source, layer, name = (text.removeprefix("'") for text in texts)
    return Measurement(int(step), source, layer, name, float(value))


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULAS) else text


def read_rows(path: Path) -> list[Measurement]:
    """Read all measurements; a last line cut off by a kill is left out.

    Raises:
        DataError: A line is damaged.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as lines:
        # A line without its end may have lost digits of its value.
        whole = [line for line in lines if line.endswith("\n")]
    try:
        cells = [line for line in csv.reader(whole) if len(line) == len(HEADER) and line[0].isdigit()]
        return [row_of(line) for line in cells]
    except (ValueError, csv.Error) as error:
        raise DataError(f"`{path}` is damaged ({error}). Repeat the run with `--force`.") from error


def measured_until(path: Path | None, last_step: int) -> Iterator[tuple[int, dict[MetricKey, float]]]:
    """Yield what a stopped process measured: each step up to the last one, and its measurements by key.

    Args:
        path: The `metrics.csv`; `None` for none.
        last_step: The training step that the process goes on from; 0 where it begins.

    Raises:
        DataError: A line is damaged.
    """
    rows = read_rows(path) if last_step and path is not None else []
    for step, measured in groupby(rows, key=lambda row: row.step):
        if step <= last_step:
            yield step, {MetricKey(row.name, row.source, row.layer): row.value for row in measured}
