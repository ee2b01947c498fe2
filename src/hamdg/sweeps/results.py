"""What a finished sweep prints and writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hamdg import console
from hamdg.config.shipped import public_name
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path, write_text
from hamdg.report.collection import FoundRun
from hamdg.report.dials import dials_image, panels
from hamdg.report.estimates import Estimate, estimate
from hamdg.report.markdown import Part, check_page
from hamdg.report.results import write_results
from hamdg.report.table import MISSING, footnote_names, qualified, share_name
from hamdg.report.tables.long import as_data
from hamdg.report.tables.methods import REFERENCE, Methods, choose_methods, tabulate_methods
from hamdg.report.tables.model import Table
from hamdg.report.tables.plain import text
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import EVALUATE, VALIDATE
from hamdg.runs.steps import read_validation
from hamdg.runs.summary import read_summary
from hamdg.sweeps.jobs import Job, is_done, labels_of
from hamdg.sweeps.ledger import Outcome, ledger_of
from hamdg.sweeps.overview import facts
from hamdg.sweeps.status import Kind, State
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import counted, listed


@dataclass(frozen=True)
class Selection:
    """A variant's accuracy on the source hold-out sets, for one row of its table.

    Args:
        condition: What the data were like.
        variant: The variant's name.
        row: Key of the row.
        accuracy: Mean over seeds of the mean over held-out domains, as the average of a table has it.
    """

    condition: str
    variant: str
    row: str
    accuracy: Estimate


def check(sweep: Sweep) -> None:
    """Make sure that a sweep's page can be written, before hours of training show that it cannot.

    Raises:
        ConfigError: If something lies in the way of the page.
        DataError: If the page's markers are damaged.
    """
    if sweep.figure is not None:
        _check_place("figure.out", sweep.figure.out)
    if sweep.out is not None:
        _check_place("out", sweep.out)
        check_page(user_path(sweep.out, "out"))


def _check_place(key: str, value: str) -> None:
    page = user_path(value, key)
    above = next(folder for folder in page.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"`{key}: {value}` cannot be written: `{above}` is a file; choose another place.")
    if page.exists() and not page.is_file():
        raise ConfigError(f"`{key}: {value}` is not a file; name the file itself, such as `docs/results.md`.")


def check_done(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Make the tables of the runs that are done, before hours of training end with a table that cannot be made.

    Args:
        sweep: What the sweep file says.
        jobs: Its runs; those that are not done, or are to be made again, are left out.

    Raises:
        DataError: If runs differ in what a table cannot average, such as their images, or contradict each other.
    """
    if sweep.until != EVALUATE:
        return
    own = [job for job in jobs if not (job.is_pair or job.draw or job.force) and is_done(job)]
    runs = []
    for job in own:
        with suppress(DataError):  # a damaged one is a failure of its own, beside the others
            runs.append(found_run(job, job.directory))
    if not runs:
        return
    try:
        tabulate_methods(runs, choose_methods(runs, {job.variant: labels_of(sweep, job) for job in own}))
    except DataError as error:
        raise DataError(f"The runs that are done fit into no table, so that none is made: {error}") from error


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
        console.result_json({**said, "source_validation": [], "held_out": [], "train_seconds": []}, kept)
        return
    found = select([(one.job, Path(one.run)) for one in shown])
    # Nor does the held-out domain choose among draws: that is for `hamdg table --select`.
    defaults = [one for one in shown if not one.job.draw]
    runs = [found_run(one.job, Path(one.run)) for one in defaults] if sweep.until == EVALUATE else []
    methods = choose_methods(runs, {one.job.variant: labels_of(sweep, one.job) for one in shown}) if runs else {}
    tables = tabulate_methods(runs, methods, sweep.baseline, costs=sweep.costs) if runs else []
    seconds = tabulate_methods(runs, methods, metric="train_seconds") if runs else []
    is_whole = len(made) == len(jobs)
    # The page first: nothing may be lost where the output takes nothing.
    page = _write_page(file, sweep, runs, methods) if runs and sweep.out is not None and is_whole else None
    console.result(
        f"{public_name(file)} ({ledger.stem.rpartition('-')[2]}): {len(made)} of {counted(len(jobs), 'run')}"
    )
    head = ("condition", "variant", "model", "source validation", "±", "n")
    title = f"{_share([one.job for one in shown])} on the source hold-out sets"
    console.table(head, [_cells(one) for one in found], title=title)
    if tables:
        console.result(f"\n{text(tables)}")
    held_out, times = (as_data(one)["tables"] for one in (tables, seconds))
    said |= {"source_validation": found, "held_out": held_out, "train_seconds": times}
    console.result_json(said, kept)
    if page is not None:
        console.result(f"\nresults {page}")
    if tables and sweep.figure is not None and is_whole:
        # After the tables, which no mistake in what a figure is of may lose.
        console.result(f"figure {_write_figure(_figure(file, sweep, tables, runs), sweep.figure.out)}")
    if sweep.baseline != REFERENCE and tables and not any(table.baseline for table in tables):
        labels = listed(list(dict.fromkeys(row.label for table in tables for row in table.rows)))
        console.warning(f"no row is called `{sweep.baseline}`, the sweep's `baseline`; there are {labels}.")
    if len(defaults) < len(shown):
        console.note(f"of draws, draw 0 is shown; `hamdg table {public_name(file)} --select validation` chooses one")
    if page is None and sweep.out is not None:
        console.note(f"`{sweep.out}` is written when all {len(jobs)} runs are done")


def select(runs: Sequence[tuple[Job, Path]]) -> list[Selection]:
    """Average the source-validation scores that runs wrote: over held-out domains in each seed, then over seeds.

    Seeds that lack a domain are left out; where all do, the mean is of all runs, and has no error.

    Args:
        runs: Every run with its directory.

    Returns:
        One entry per condition, variant and row of its table that is a whole model (source models are left out).
    """
    scores: dict[tuple[str, str, str], dict[int, dict[str, float]]] = {}
    for job, run in runs:
        for row, accuracy in read_validation(RunDirectory(run)).items():
            if "/" not in row and row != "zero_shot":
                by_seed = scores.setdefault((job.condition, job.variant, row), {})
                by_seed.setdefault(job.recipe.seed, {})[job.recipe.held_out] = accuracy
    return [Selection(*key, _over_seeds(by_seed)) for key, by_seed in scores.items()]


def _over_seeds(by_seed: Mapping[int, Mapping[str, float]]) -> Estimate:
    domains = {name for values in by_seed.values() for name in values}
    whole = [values for values in by_seed.values() if values.keys() == domains]
    if whole:
        return estimate([estimate(list(values.values())).mean for values in whole])
    every = estimate([value for values in by_seed.values() for value in values.values()])
    return Estimate(every.mean, None, len(by_seed))


def _share(jobs: Sequence[Job]) -> str:
    """Return what numbers of the runs' primary metric are in percent."""
    from hamdg.tasks.registry import TASKS

    metrics = dict.fromkeys(TASKS[benchmark_of(job.recipe).task].primary for job in jobs)
    return " and ".join(map(share_name, metrics))


def found_run(job: Job, directory: Path) -> FoundRun:
    """Return a finished run under the variant and condition that it has in its sweep.

    Raises:
        DataError: Its record is damaged.
    """
    summary = read_summary(directory)
    return FoundRun(directory, replace(summary, variant=job.variant, condition=job.condition))


def _facts(outcome: Outcome) -> dict[str, object]:
    kind: Kind = "failed" if outcome.error else "done"
    return facts(State(outcome.job, kind, outcome.error, outcome.traceback, seconds=outcome.seconds))


def _write_page(file: Path, sweep: Sweep, runs: Sequence[FoundRun], methods: Methods) -> Path:
    name = public_name(file)
    part = Part(name, sweep.title or file.stem, shlex.join(["hamdg", "sweep", name]), sweep.intro)
    page = user_path(sweep.out or "", "out")
    return write_results(runs, page, part, methods, sweep.baseline, validation=sweep.validation, costs=sweep.costs)


def figure(file: Path, sweep: Sweep, jobs: Sequence[Job]) -> str:
    """Return the figure of a sweep as an image (SVG), of those runs that have a record.

    Args:
        file: The sweep file.
        sweep: What it says; it has a figure.
        jobs: Its runs.

    Raises:
        ConfigError: If no run of a method that it shows is done, or none of the baseline.
        DataError: If a record is damaged, or runs fit into no table.
    """
    own = [job for job in jobs if not (job.is_pair or job.draw)]
    shown = [job for job in own if RunDirectory(job.directory).record.is_file()]
    runs = [found_run(job, job.directory) for job in shown]
    methods = choose_methods(runs, {job.variant: labels_of(sweep, job) for job in shown})
    return _figure(file, sweep, tabulate_methods(runs, methods, sweep.baseline), runs)


def _figure(file: Path, sweep: Sweep, tables: Sequence[Table], runs: Sequence[FoundRun]) -> str:
    assert sweep.figure is not None
    names = footnote_names(run.summary.footnote for run in runs)
    methods = [qualified(label, names) for label in sweep.figure.methods]
    found = panels(tables, sweep.figure.strengths(), methods)
    baseline = next(table.baseline for table in tables if table.baseline)
    return dials_image(found, baseline, sweep.title or file.stem, tables[0].metric, sweep.figure.lowest)


def _write_figure(image: str, place: str) -> Path:
    out = user_path(place, "figure.out")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, image)
    return out


def _cells(one: Selection) -> tuple[str, ...]:
    mean, error = one.accuracy.mean, one.accuracy.standard_error
    spread = MISSING if error is None else f"{100 * error:.2f}"
    return (one.condition, one.variant, one.row, f"{100 * mean:.2f}", spread, str(one.accuracy.n))
