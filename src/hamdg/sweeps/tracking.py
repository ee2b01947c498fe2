"""How the runs of a sweep are followed: as one group, with our own means and standard errors as a table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hamdg import console
from hamdg.config.tracking import LONGEST_NAME, TrackingConfig, check_loggers
from hamdg.errors import DataError
from hamdg.files import user_path
from hamdg.report.collection import RECORD, FoundRun
from hamdg.report.tables.methods import tabulate_methods
from hamdg.report.tables.options import TARGET
from hamdg.runs.identity import run_directory
from hamdg.runs.record import EVALUATE
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.ledger import ledger_of
from hamdg.sweeps.results import found_run
from hamdg.sweeps.sweep_file import Sweep

TABLE = "table"
COLUMNS = ("method", "held_out", "mean", "standard_error", "n", "condition")


def followed(jobs: Sequence[Job], file: Path, names: Sequence[str] | None) -> list[Job]:
    """Return the jobs with their runs followed as one group, under the conditions that they have in the sweep.

    Args:
        jobs: The jobs.
        file: The sweep file, whose name is that of the group.
        names: The loggers, none for an empty list; `None` for what each recipe says.

    Raises:
        ConfigError: If a logger does not exist, its package is missing, it is none, or it does not take its options.
    """
    found = [_followed(job, file.stem[:LONGEST_NAME], names) for job in jobs]
    for config in {repr(job.recipe.tracking): job.recipe.tracking for job in found}.values():
        check_loggers(config)
        if config.loggers:
            from hamdg.tracking.loggers import check_makers

            check_makers(config)
    return found


def _followed(job: Job, group: str, names: Sequence[str] | None) -> Job:
    own = job.recipe.tracking
    loggers = own.loggers if names is None else list(names)
    if not loggers:
        # Options of loggers that do not follow the run would be those of none.
        tracking = own if names is None else replace(own, loggers=[], options={})
        return replace(job, recipe=replace(job.recipe, tracking=tracking))
    config = {"condition": job.condition} | own.config
    tracking = replace(own, loggers=loggers, group=own.group or group, config=config)
    return replace(job, recipe=replace(job.recipe, tracking=tracking))


def log_table(sweep: Sweep, file: Path, jobs: Sequence[Job]) -> None:
    """Log means and standard errors over the seeds of a sweep's finished runs, as a step of its own; of draws, draw 0.

    Args:
        sweep: The sweep.
        file: Its file.
        jobs: Its runs; the loggers of the first one that has any are used.
    """
    tested = [job for job in jobs if job.recipe.tracking.loggers and job.until == EVALUATE]
    runs = list(_finished([job for job in tested if not (job.is_pair or job.draw)]))
    if not runs:
        return

    from hamdg.tracking.results import Results, ResultTable
    from hamdg.tracking.step import TrackedStep
    from hamdg.tracking.tracker import tracked

    config: TrackingConfig = tested[0].recipe.tracking
    ledger, root = ledger_of(sweep, file).path, user_path(sweep.root, "root")
    step = TrackedStep(
        TABLE,
        key=f"{TABLE}-{ledger.stem}",
        folder=root / "sweeps" / ledger.stem,
        folders=str(root / "sweeps" / "*"),
        title=f"table of {file.stem}",
        group=config.group,
        config={"step": TABLE, "kind": TABLE, "sweep": file.stem},
    )
    rows = list(means(runs))
    with tracked(config, step) as tracker:
        tracker.finish(
            lambda: Results(values={"runs": len(runs)}, tables={"summary/table": ResultTable(COLUMNS, rows)})
        )


def _finished(jobs: Sequence[Job]) -> Iterator[FoundRun]:
    for job in jobs:
        directory = run_directory(job.recipe)
        if (directory / RECORD).is_file():
            try:
                yield found_run(job, directory)
            except DataError as error:
                console.warning(f"the table that is logged lacks a run: {error}")


def means(runs: Sequence[FoundRun]) -> Iterator[list[str | int | float | None]]:
    """Yield the lines of the table: a method's mean over its seeds on a held-out domain, the sample standard error."""
    results = {(one.summary.condition, one.summary.variant, one.summary.result["key"]): one for one in runs}
    for table in tabulate_methods(runs, {place: one.summary.variant for place, one in results.items()}):
        for row, cells in zip(table.rows, table.cells, strict=True):
            for column, cell in zip(table.columns, cells, strict=True):
                # The mean over domains that are held out at once is a number of its own.
                if cell.mean is not None and (TARGET in column.values or not column.is_average):
                    condition = table.place["condition"]
                    yield [row.label, column.label, cell.mean, cell.standard_error, cell.n, condition]
