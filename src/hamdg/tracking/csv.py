"""`metrics.csv`: one measurement a line, appended; a resumed run drops what it is about to measure again."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from hamdg.files import atomic_path, explained_storage
from hamdg.tracking.interface import KeyedLogger
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.rows import HEADER, Measurement, cells_of, read_rows


class CsvTracker(KeyedLogger):
    """A Lightning logger that appends rows to `metrics.csv`.

    Args:
        path: The file.
        last_step: Rows after this step are dropped first: the run resumes there.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        super().__init__()
        self.path = path
        self._pending: list[Measurement] = []
        kept = [row for row in read_rows(path) if row.step <= last_step]
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines)
            writer.writerow(HEADER)
            writer.writerows(cells_of(row) for row in kept)

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

    def log(self, values: Mapping[MetricKey, float], step: int) -> None:
        """Take measurements by key."""
        found = ((key, float(value)) for key, value in values.items())
        self._pending += [Measurement(step, key.source, key.layer, key.name, value) for key, value in found]

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take measurements that have no more than a name; called by Lightning for what a module logs itself."""
        if step is not None:
            self.log({MetricKey(name): value for name, value in metrics.items()}, step)

    def save(self) -> None:
        """Append all pending rows to the file."""
        with explained_storage(self.path), self.path.open("a", newline="", encoding="utf-8") as lines:
            csv.writer(lines).writerows(cells_of(row) for row in self._pending)
        self._pending.clear()

    def finalize(self, status: str) -> None:
        """Save what is pending; called by the Trainer at the end of training."""
        self.save()
