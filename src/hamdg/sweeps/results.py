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
from hamdg.runs.record import EVALUATE, VALIDATE, Record, read_record
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.ledger import Outcome, ledger_of
from hamdg.sweeps.overview import facts
from hamdg.sweeps.status import Kind, State, is_done
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import counted


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


def show(file: Path, sweep: Sweep, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Print what source validation and the held-out domains say; write the sweep's part of its page if it names one.

    The page is written when all runs of the sweep are done, by whichever process ends last.

    Args:
        file: The sweep file, by whose path the page tells its parts apart.
        sweep: What it says.
        jobs: All runs of the sweep.
        outcomes: What became of those that were to be made here.
    """
    made = [one for one in outcomes if not one.error]
    if len(made) == len(outcomes) < len(jobs) and all(map(is_done, jobs)):
        made = [Outcome(job, str(job.directory)) for job in jobs]
    ledger = ledger_of(sweep, file).path
    said: dict[str, object] = {"sweep": public_name(file), "ledger": ledger, "runs": [_facts(one) for one in outcomes]}
    kept = f"`{ledger}` has all outcomes"
    # What cross-validation chooses by is no result.
    shown = [one for one in made if not one.job.is_pair]
    if not shown or sweep.until not in (VALIDATE, EVALUATE):
        console.result_json({**said, "source_validation": [], "held_out": []}, kept)
        return
    found = select([(one.job.condition, one.job.variant, Path(one.run)) for one in shown])
    # Nor does the held-out domain choose among draws: that is for `hamdg table --select`.
    defaults = [one for one in shown if not one.job.draw]
    records = [_record(one) for one in defaults] if sweep.until == EVALUATE else []
    chosen = choose_rows(records, {one.job.variant: _rows(sweep, one.job) for one in shown})
    is_whole = len(made) == len(jobs)
    # The page first: nothing may be lost where the output takes nothing.
    page = _write_page(file, sweep, records, chosen) if records and sweep.out is not None and is_whole else None
    console.result(
        f"{public_name(file)} ({ledger.stem.rpartition('-')[2]}): {len(made)} of {counted(len(jobs), 'run')}"
    )
    head = ("condition", "variant", "model", "source validation", "±", "n")
    console.table(head, [_cells(one) for one in found], title="% correct on the source hold-out sets")
    rows = sweep_table(records, chosen) if records else []
    if records:
        console.result("")
        print_accuracies(records, rows)
    console.result_json({**said, "source_validation": found, "held_out": rows}, kept)
    if page is not None:
        console.result(f"\nresults {page}")
    if len(defaults) < len(shown):
        console.note(f"of draws, draw 0 is shown; `hamdg table {public_name(file)} --select validation` chooses one")
    if page is None and sweep.out is not None:
        console.note(f"`{sweep.out}` is written when all {len(jobs)} runs are done")


def _facts(outcome: Outcome) -> dict[str, object]:
    kind: Kind = "failed" if outcome.error else "done"
    return facts(State(outcome.job, kind, outcome.error, outcome.traceback, seconds=outcome.seconds))


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
