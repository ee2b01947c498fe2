"""What a finished sweep prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hamdg import console
from hamdg.report.contract import Record, read_record
from hamdg.report.parts import Part
from hamdg.report.results import write_results
from hamdg.report.selection import Selection, select
from hamdg.report.table import MISSING
from hamdg.runs.sweep import Outcome, Sweep


def show(file: Path, sweep: Sweep, outcomes: Sequence[Outcome]) -> None:
    """Print what source validation says of every variant; write the sweep's part of its page if it names one.

    Args:
        file: The sweep file, by whose path the page tells its parts apart.
        sweep: What it says.
        outcomes: What became of its jobs.
    """
    found = select([(one.job.condition, one.job.variant, Path(one.run)) for one in outcomes])
    head = ("condition", "variant", "model", "source validation", "±", "n")
    console.table(head, [_cells(one) for one in found], title="% correct on the source hold-outs")
    if sweep.out is None or sweep.until != "evaluate":
        return
    chosen: dict[tuple[str, str], list[tuple[str, str]]] = {
        (outcome.job.recipe.algorithm, outcome.job.variant): list(sweep.variants[outcome.job.variant].rows.items())
        for outcome in outcomes
    }
    name = _name(file)
    part = Part(name, sweep.title or file.stem, f"hamdg sweep {name}", sweep.intro)
    page = write_results([_record(one) for one in outcomes], Path(sweep.out), part, chosen)
    console.result(f"results {page}")


def _name(file: Path) -> str:
    """Return a file's path from here if it lies below, as every machine would write it."""
    path, here = file.resolve(), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(file)


def _cells(one: Selection) -> tuple[str, ...]:
    mean, error = one.accuracy.mean, one.accuracy.standard_error
    spread = MISSING if error is None else f"{100 * error:.2f}"
    return (one.condition, one.variant, one.row, f"{100 * mean:.2f}", spread, str(one.accuracy.n))


def _record(outcome: Outcome) -> Record:
    record = read_record(Path(outcome.run))
    record["condition"], record["variant"] = outcome.job.condition, outcome.job.variant
    return record
