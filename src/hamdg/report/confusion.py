"""Which classes are confused: a matrix where it is small enough to read, else the most frequent pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hamdg.report.figures import Cell, Heat
from hamdg.report.table import percent
from hamdg.runs.figures import Table, table
from hamdg.runs.predictions import MapPredictions, TargetPredictions

Counts = NDArray[np.int64]

# Cells of more columns are too small to be read.
MOST_CLASSES = 16
# How many pairs stand beside a matrix, and in its place.
FEW_PAIRS, MANY_PAIRS = 8, 20


@dataclass(frozen=True)
class Confusion:
    """What was taken for what on one target.

    Args:
        target: The held-out domain, in the title of several.
        maps: The matrix of each shown model, by its label; empty for many classes.
        pairs: The pairs of classes that the result confuses most; `None` if it confuses none.
        unit: What is counted: images or pixels.
    """

    target: str
    maps: Mapping[str, Heat]
    pairs: Table | None
    unit: str = "images"


def confusion(
    target: str, found: TargetPredictions | MapPredictions, models: Mapping[str, str], classes: Sequence[str]
) -> Confusion:
    """Return what the page shows of the mistakes on one target.

    Args:
        target: Its name.
        found: What was predicted.
        models: The shown models, the result first: label by key of the row.
        classes: Names of the classes.
    """
    counts = {label: found.confusion(key, len(classes)) for key, label in models.items()}
    few, unit = len(classes) <= MOST_CLASSES, "pixels" if isinstance(found, MapPredictions) else "images"
    maps = {label: _matrix(one, classes, unit) for label, one in counts.items()} if few else {}
    return Confusion(target, maps, _pairs(counts, classes, FEW_PAIRS if few else MANY_PAIRS, unit), unit)


def _matrix(counts: Counts, classes: Sequence[str], unit: str) -> Heat:
    totals = counts.sum(axis=1)
    rows = {
        name: [
            *(_cell(counts[row, column], totals[row], row == column) for column in range(len(classes))),
            Cell(f"{totals[row]:,}", kind="void total"),
        ]
        for row, name in enumerate(classes)
    }
    columns = [*classes, unit]
    return Heat("", "", columns, rows, tall=True, corner="true \N{RIGHTWARDS ARROW} predicted")


def _cell(count: int, total: int, right: bool) -> Cell:
    if count == 0:
        return Cell("0", kind="void right" if right else "void")
    share = count / total
    return Cell(
        _share(count, total),
        float(share) if right else float(min(1.0, 0.15 + 1.7 * share)),
        "right" if right else "minus",
    )


def _pairs(counts: Mapping[str, Counts], classes: Sequence[str], most: int, unit: str) -> Table | None:
    """Return the pairs with the most mistakes of the result, and what other models do with them."""
    own = next(iter(counts.values()))
    wrong = own - np.diag(np.diag(own))
    # The most frequent first, in the order of the classes where they are equal.
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(flat) // len(classes), int(flat) % len(classes)) for flat in order if wrong.flat[flat] > 0]
    if not pairs:
        return None
    rows = [
        [
            f"{classes[true]} \N{RIGHTWARDS ARROW} {classes[taken]}",
            f"{own[true, taken]:,}",
            *(_share(one[true, taken], one[true].sum()) for one in counts.values()),
        ]
        for true, taken in pairs
    ]
    share = wrong[tuple(np.array(pairs).T)].sum() / wrong.sum()
    note = (
        f"Of the {unit} of the first class, the share that is taken for the second, in per cent. These pairs are "
        f"{percent(float(share)).removesuffix('.0')} % of all mistakes of the result."
    )
    return table("Most confused pairs", ["true \N{RIGHTWARDS ARROW} predicted", "mistakes", *counts], rows, note=note)


def _share(count: int, total: int) -> str:
    """Return a share in per cent; one that is not nothing does not look like it."""
    share = 100 * count / total
    return f"{share:.0f}" if share >= 1 or count == 0 else "<1"
