"""What source validation says about the variants of a sweep; no held-out domain is involved."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev


@dataclass(frozen=True)
class Selection:
    """A variant's mean accuracy on the source hold-outs, by row of its table.

    Args:
        variant: The variant's name.
        row: Key of the row.
        accuracy: Mean over all runs of the variant.
        standard_error: Over the same runs.
        runs: How many.
    """

    variant: str
    row: str
    accuracy: float
    standard_error: float
    runs: int


def select(runs: Sequence[tuple[str, Path]]) -> list[Selection]:
    """Average the source-validation scores that the merge stage wrote.

    Args:
        runs: Variant and run directory of every run.

    Returns:
        One entry per variant and row of its table that is a whole model (source models are left out).
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for variant, run in runs:
        for row, accuracy in json.loads((run / "merge.json").read_text())["validation"].items():
            if "/" not in row and row != "zero_shot":
                scores.setdefault((variant, row), []).append(accuracy)
    return [
        Selection(variant, row, mean(values), _standard_error(values), len(values))
        for (variant, row), values in scores.items()
    ]


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
