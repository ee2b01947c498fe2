"""The metrics of a step (`metrics.csv`, long format) as series over steps."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hamdg.errors import DataError
from hamdg.text import excerpt
from hamdg.tracking.rows import HEADER, Measurement, row_of


@dataclass(frozen=True)
class Series:
    """One quantity over the steps of the training; `steps` rise strictly."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over all steps."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Metrics:
    """All series of a step, keyed by (name, source, layer)."""

    series: Mapping[tuple[str, str, str], Series]

    def names(self) -> list[str]:
        """Return the names of all metrics, in the file's order."""
        return list(dict.fromkeys(name for name, _, _ in self.series))

    def by_source(self, name: str, layer: str = "") -> dict[str, Series]:
        """Return the series called `name` for each source (or pair of sources), sorted by its name."""
        return {
            source: series
            for (own, source, own_layer), series in sorted(self.series.items())
            if own == name and own_layer == layer
        }

    def by_layer(self, name: str) -> dict[str, dict[str, Series]]:
        """Return, for each source (or pair), the series called `name` of its layers, in the file's order."""
        found: dict[str, dict[str, Series]] = {}
        for (own, source, layer), series in self.series.items():
            if own == name and layer:
                found.setdefault(source, {})[layer] = series
        return dict(sorted(found.items()))


def read_metrics(path: Path) -> Metrics:
    """Read a `metrics.csv`; of two rows for the same step (a resumed run) the later one counts.

    Raises:
        DataError: The header or a row is not as expected.
    """
    points: dict[tuple[str, str, str], dict[int, float]] = {}
    # Bytes that are not text make a line that is not a measurement, which `_rows` refuses by its number.
    with open(path, newline="", encoding="utf-8", errors="replace") as stream:
        for step, source, layer, name, value in _rows(stream, path):
            points.setdefault((name, source, layer), {})[step] = value
    return Metrics({key: _series(values) for key, values in points.items()})


def _series(values: Mapping[int, float]) -> Series:
    steps = tuple(sorted(values))
    return Series(steps, tuple(values[step] for step in steps))


def _rows(stream: Iterator[str], path: Path) -> Iterator[Measurement]:
    reader = csv.reader(stream)
    try:
        header = next(reader, [])
        if tuple(header) != HEADER:
            text = excerpt(",".join(header))
            raise DataError(f"`{path}` begins with `{text}`, expected `{','.join(HEADER)}`. Repeat the run.")
        for row in reader:
            try:
                yield row_of(row)
            except ValueError as error:
                raise DataError(
                    f"`{path}`, line {reader.line_num}: `{excerpt(','.join(row))}` is not `{','.join(HEADER)}`. "
                    "Repeat the run."
                ) from error
    except csv.Error as error:
        raise DataError(f"`{path}`, line {reader.line_num} is damaged ({error}). Repeat the run.") from error
