"""What a finished sweep prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hamdg import console
from hamdg.report.selection import select
from hamdg.runs.sweep import Outcome, Sweep


def show(sweep: Sweep, outcomes: Sequence[Outcome], command: str) -> None:
    """Print the source-validation table; write the page of results if the sweep names one."""
    rows = [
        (one.variant, one.row, f"{100 * one.accuracy:.2f}", f"{100 * one.standard_error:.2f}", str(one.runs))
        for one in select([(outcome.job.variant, Path(outcome.run)) for outcome in outcomes])
    ]
    console.table(("variant", "model", "source validation", "±", "n"), rows, title="% correct on the source hold-outs")
