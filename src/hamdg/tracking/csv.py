"""`metrics.csv`: one measurement a line, appended; a resumed run drops what it is about to measure again."""

from __future__ import annotations

import csv
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers import Logger

from hamdg.files import atomic_path, explained_storage

HEADER = ("step", "source", "layer", "name", "value")
_KEY = re.compile(r"(?P<name>[^{}]+)(?:\{(?P<source>[^{}]*)\})?(?:\{(?P<layer>[^{}]*)\})?")


class Row(NamedTuple):
    """One line of `metrics.csv`."""

    step: int
    source: str
    layer: str
    name: str
    value: float


def measure(name: str, source: str = "", layer: str = "") -> str:
    """Return the key under which a measurement is logged: `loss{photo}`, `cosine/after{cartoon|photo}{layer1.0}`."""
    return name + (f"{{{source}}}" if source or layer else "") + (f"{{{layer}}}" if layer else "")


def read_rows(path: Path) -> list[Row]:
    """Read all measurements; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as lines:
        # A line without its end may have lost digits of its value.
        whole = [line for line in lines if line.endswith("\n")]
    cells = [line for line in csv.reader(whole) if len(line) == len(HEADER) and line[0].isdigit()]
    return [Row(int(step), source, layer, name, float(value)) for step, source, layer, name, value in cells]


class CsvTracker(Logger):
    """A Lightning logger that appends rows to `metrics.csv`.

    Args:
        path: The file.
        last_step: Rows after this step are dropped first: the run resumes there.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        super().__init__()
        self.path = path
        self._pending: list[Row] = []
        kept = [row for row in read_rows(path) if row.step <= last_step]
        with atomic_path(path) as temporary, temporary.open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(HEADER)
            writer.writerows(_cells(row) for row in kept)

    @property
    def name(self) -> str:
        """Return the logger's name, which no file depends on."""
        return "csv"

    @property
    def version(self) -> str:
        """Return an empty version: the run directory is the version."""
        return ""

    def log_hyperparams(self, params: dict[str, object] | Namespace, *args: object, **kwargs: object) -> None:
        """Do nothing: `config.yaml` holds the configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take measurements by key (see `measure`)."""
        for key, value in metrics.items():
            match = _KEY.fullmatch(key)
            if match is not None and step is not None:
                source, layer = match["source"] or "", match["layer"] or ""
                self._pending.append(Row(step, source, layer, match["name"], float(value)))

    def save(self) -> None:
        """Append all pending rows to the file."""
        with explained_storage(self.path), self.path.open("a", newline="") as lines:
            csv.writer(lines).writerows(_cells(row) for row in self._pending)
        self._pending.clear()

    def finalize(self, status: str) -> None:
        """Save what is pending; called by the Trainer at the end of training."""
        self.save()


def _cells(row: Row) -> tuple[str, ...]:
    return (str(row.step), row.source, row.layer, row.name, repr(row.value))
