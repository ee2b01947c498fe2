"""What a finished sweep prints and writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hamdg import console
from hamdg.config.shipped import public_name
from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.report.aggregate import RowChoice, Selection, select, sweep_table
from hamdg.report.markdown import Part, check_page
from hamdg.report.results import print_accuracies, write_results
from hamdg.report.rows import choose_rows
from hamdg.report.table import MISSING
from hamdg.runs.record import Record, read_record
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.ledger import Outcome
from hamdg.sweeps.sweep_file import Sweep


def check(sweep: Sweep) -> None:
    """Make sure that a sweep's page can be written, before hours of training show that it cannot.

    Raises:
        ConfigError: If something lies in the way of the page.
        DataError: If the page's markers are damaged.
    """
    if sweep.out is None:
        return
    page = user_path(sweep.out, "out")
    above = next(folder for folder in page.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"`out: {sweep.out}` cannot be written: `{above}` is a file; choose another page.")
    if page.exists() and not page.is_file():
        raise ConfigError(f"`out: {sweep.out}` is not a file; name the page itself, such as `docs/results.md`.")
    check_page(page)


def show(file: Path, sweep: Sweep, outcomes: Sequence[Outcome]) -> None:
    """Print what source validation and the held-out domains say; write the sweep's part of its page if it names one.

    Args:
        file: The sweep file, by whose path the page tells its parts apart.
        sweep: What it says.
        outcomes: What became of its jobs.
    """
    found = select([(one.job.condition, one.job.variant, Path(one.run)) for one in outcomes])
    records = [_record(one) for one in outcomes] if sweep.until == "evaluate" else []
    chosen = choose_rows(records, {one.job.variant: _rows(sweep, one.job) for one in outcomes})
    # The page first: nothing may be lost where the output takes nothing.
    page = _write_page(file, sweep, records, chosen) if records and sweep.out is not None else None
    head = ("condition", "variant", "model", "source validation", "±", "n")
    console.table(head, [_cells(one) for one in found], title="% correct on the source hold-out sets")
    if records:
        console.result("")
        print_accuracies(records, sweep_table(records, chosen))
    if page is not None:
        console.result(f"\nresults {page}")


def _rows(sweep: Sweep, job: Job) -> Mapping[str, str] | None:
    """Return the labels of a variant's rows; with values of a grid in its name, in theirs, too."""
    suffix = job.variant.removeprefix(job.origin)
    rows = sweep.origins[job.origin].rows
    return rows if rows is None else {key: f"{label}{suffix}" for key, label in rows.items()}


def _write_page(file: Path, sweep: Sweep, records: list[Record], chosen: RowChoice) -> Path:
    name = public_name(file)
    part = Part(name, sweep.title or file.stem, shlex.join(["hamdg", "sweep", name]), sweep.intro)
    return write_results(records, user_path(sweep.out or "", "out"), part, chosen)


def _cells(one: Selection) -> tuple[str, ...]:
    mean, error = one.accuracy.mean, one.accuracy.standard_error
    spread = MISSING if error is None else f"{100 * error:.2f}"
    return (one.condition, one.variant, one.row, f"{100 * mean:.2f}", spread, str(one.accuracy.n))


def _record(outcome: Outcome) -> Record:
    record = read_record(Path(outcome.run))
    record["condition"], record["variant"] = outcome.job.condition, outcome.job.variant
    return record
