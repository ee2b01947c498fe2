"""What source validation says about the variants of a sweep; no held-out domain is involved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamdg.report.aggregate import Estimate, estimate
from hamdg.runs.record import read_validation


@dataclass(frozen=True)
class Selection:
    """A variant's accuracy on the source hold-outs, for one row of its table.

    Args:
        condition: What the data were like.
        variant: The variant's name.
        row: Key of the row.
        accuracy: Mean over all runs of the variant under this condition: held-out domains and seeds alike.
    """

    condition: str
    variant: str
    row: str
    accuracy: Estimate


def select(runs: Sequence[tuple[str, str, Path]]) -> list[Selection]:
    """Average the source-validation scores that the merge stage wrote.

    Args:
        runs: Condition, variant and run directory of every run.

    Returns:
        One entry per condition, variant and row of its table that is a whole model (source models are left out).
    """
    scores: dict[tuple[str, str, str], list[float]] = {}
    for condition, variant, run in runs:
        for row, accuracy in read_validation(run).items():
            if "/" not in row and row != "zero_shot":
                scores.setdefault((condition, variant, row), []).append(accuracy)
    return [Selection(*key, estimate(values)) for key, values in scores.items()]
