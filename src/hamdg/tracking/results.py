"""A step's results as loggers take them: numbers, tables, images, files; no Lightning and no W&B here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Cell = str | int | float | None
ConfigValue = str | int | float | bool | list[str] | None


class ResultTable(NamedTuple):
    """A table of results.

    Args:
        columns: Names of the columns.
        rows: The cells, one a column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Confusion(NamedTuple):
    """How often each class was taken for each.

    Args:
        classes: Names of the classes.
        counts: Images [actual, predicted].
    """

    classes: Sequence[str]
    counts: NDArray[np.int64]


class CaptionedImage(NamedTuple):
    """An image with what is written below it; pixels are [h, w, 3] of bytes."""

    pixels: NDArray[np.uint8]
    caption: str


class Results(NamedTuple):
    """What a step found.

    Args:
        values: Numbers and short texts by name, such as `accuracy` or `merge/norms/photo`.
        tables: Tables by name.
        confusions: Confusion matrices by name.
        images: Images by name.
        config: What belongs to the configuration but is known only now, such as `merged_from`.
        files: What the step wrote, for loggers that keep files.
        used: The steps of other trackers that this one worked with, by what `links` says of them.
    """

    values: Mapping[str, float | int | str] = {}
    tables: Mapping[str, ResultTable] = {}
    confusions: Mapping[str, Confusion] = {}
    images: Mapping[str, Sequence[CaptionedImage]] = {}
    config: Mapping[str, ConfigValue] = {}
    files: Sequence[Path] = ()
    used: Sequence[Mapping[str, str]] = ()

    @property
    def numbers(self) -> dict[str, float]:
        """The values that are numbers, for loggers that take nothing else."""
        return {name: float(value) for name, value in self.values.items() if not isinstance(value, str)}
