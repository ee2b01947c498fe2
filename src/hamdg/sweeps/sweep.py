"""Runs all jobs of a sweep, through a launcher, beside other sweeps in the same folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hamdg import console
from hamdg.files import user_path
from hamdg.sweeps.jobs import Job, by_training, check_inputs, jobs_of
from hamdg.sweeps.launchers import Launcher, start
from hamdg.sweeps.ledger import Outcome, open_ledger
from hamdg.sweeps.queue import Claims, run_all
from hamdg.sweeps.sweep_file import Sweep


def run_sweep(path: Path, sweep: Sweep, processes: int | None, launcher: Launcher) -> list[Outcome]:
    """Run all jobs of a sweep at the same time; finished ones are skipped, failed ones do not stop the others.

    Several sweeps may run in one folder at once: each waits for what another works on, and takes over what a killed one
    left.

    Args:
        path: The sweep file.
        sweep: What it says.
        processes: Runs at the same time; `None` for what the launcher says.
        launcher: Where they run.

    Returns:
        The outcome of every job, in the order of the jobs.

    Raises:
        ConfigError: If a recipe or the launcher is wrong.
        SweepError: If a job failed; the ledger and the traceback's file are named.
        DataError: If the images of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
        RunDirectoryError: If the folder of the runs cannot be written to.
    """
    threads = launcher.threads(processes)
    jobs = jobs_of(sweep, path, threads)
    workers = min(processes or launcher.workers() or len(jobs), len(jobs))
    check_inputs(jobs)
    folder = user_path(sweep.root, "root") / "sweeps"
    with open_ledger(folder / f"{path.stem}-{_digest(sweep)}.jsonl") as ledger:
        each = f", {threads} thread(s) each" if threads else ""
        where = type(launcher).__name__
        console.heading(f"{len(jobs)} runs, {workers} at a time by {where}{each}; ledger {ledger.path}")
        work: list[Callable[[], str]] = [partial(run_job, job) for job in jobs]
        outcomes: dict[int, Outcome] = {}
        executor = start(launcher, workers, folder)
        for number, result in run_all(work, by_training(jobs), Claims(folder / "claims"), executor, workers):
            outcomes[number] = outcome = ledger.add(jobs[number], result)
            how = f"failed: {jobs[number]}: {outcome.error}" if outcome.error else f"done: {jobs[number]}"
            console.note(f"{len(outcomes)}/{len(jobs)} {how}")
        found = [outcomes[number] for number in range(len(jobs))]
        ledger.raise_failures(found)
    return found


def run_job(job: Job) -> str:
    """Make one run, in whatever process this is called, and return its directory."""
    from hamdg.stages import pipeline

    return str(pipeline.run(job.recipe, command=job.command, until=job.until, show=False).parent)


def _digest(sweep: Sweep) -> str:
    return hashlib.sha256(repr(sweep).encode()).hexdigest()[:8]
