"""Runs all jobs of a sweep, through a launcher, beside other sweeps in the same folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path

from hamdg import console
from hamdg.errors import RunDirectoryError
from hamdg.files import user_path
from hamdg.runs.directory import RunDirectory
from hamdg.runs.lock import holder
from hamdg.runs.record import EVALUATE
from hamdg.sweeps.jobs import Job, by_training, check_inputs, is_done, jobs_of
from hamdg.sweeps.launchers import Launcher, start
from hamdg.sweeps.ledger import Ledger, Outcome, ledger_of
from hamdg.sweeps.live import SweepProgress, is_live, shown
from hamdg.sweeps.queue import Claims, run_all
from hamdg.sweeps.status import states_of
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import counted


def run_sweep(
    path: Path, sweep: Sweep, processes: int | None, launcher: Launcher, jobs: Sequence[Job] | None = None
) -> list[Outcome]:
    """Run all jobs of a sweep at the same time; finished ones are skipped, failed ones do not stop the others.

    Several sweeps may run in one folder at once: each waits for what another works on, and takes over what a killed one
    left.

    Args:
        path: The sweep file.
        sweep: What it says.
        processes: Runs at the same time; `None` for what the launcher says.
        launcher: Where they run.
        jobs: The runs to make; all of the sweep's when left out.

    Returns:
        The outcome of every job, in the order of the jobs; `Ledger.raise_failures` raises if one failed.

    Raises:
        ConfigError: If a recipe or the launcher is wrong.
        DataError: If the images of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
        RunDirectoryError: If the folder of the runs cannot be written to.
    """
    jobs = jobs_of(sweep, path) if jobs is None else jobs
    check_inputs(jobs)
    ledger, folder = ledger_of(sweep, path), user_path(sweep.root, "root") / "sweeps"
    ledger.open()
    before = {number: found for number, job in enumerate(jobs) if (found := _made_before(job)) is not None}
    open_jobs = len(jobs) - len(before)
    workers = min(processes or launcher.workers() or open_jobs, max(1, open_jobs))
    threads = launcher.threads(workers)
    jobs = [job if number in before else _with_threads(job, threads) for number, job in enumerate(jobs)]
    progress = SweepProgress(path.stem, states_of(sweep, path, jobs), workers)
    console.heading(f"{_what(len(jobs), len(before))}, {_where(launcher, workers, threads)}; ledger {ledger.path}")
    with shown(progress):
        for number, result in before.items():
            _note(ledger, progress, number, result, announce=not isinstance(result, str))
        if open_jobs:
            _make(ledger, progress, jobs, before.keys(), Claims(folder / "claims"), start(launcher, workers, folder))
    return [progress.outcomes[number] for number in range(len(jobs))]


def run_job(job: Job) -> str:
    """Make one run, in whatever process this is called, and return its directory."""
    from hamdg.stages import pipeline

    record = pipeline.run(job.recipe, force=job.force, command=job.command, until=job.until, show=False)
    return str(record.parent)


def _make(
    ledger: Ledger,
    progress: SweepProgress,
    jobs: Sequence[Job],
    before: Collection[int],
    claims: Claims,
    executor: Executor,
) -> None:
    """Make all jobs but those that were made before; what they share is made once."""
    groups = {
        name: kept
        for name, numbers in by_training(jobs).items()
        if (kept := [number for number in numbers if number not in before])
    }
    work: list[Callable[[], str]] = [partial(run_job, job) for job in jobs]
    for number, result in run_all(work, groups, claims, executor, progress.workers, progress):
        _note(ledger, progress, number, result)


def _note(
    ledger: Ledger, progress: SweepProgress, number: int, result: str | BaseException, announce: bool = True
) -> None:
    """Write down what became of a job, and print it where no table shows it."""
    outcome = ledger.add(progress.states[number].job, result, progress.seconds_of(number))
    progress.finish(number, outcome)
    if announce and not is_live():
        console.note(progress.line(number))


def _with_threads(job: Job, threads: int) -> Job:
    """Return a job with its share of the threads, unless its settings say how many it has."""
    runtime = job.recipe.runtime
    if runtime.threads or not threads:
        return job
    return replace(job, recipe=replace(job.recipe, runtime=replace(runtime, threads=threads)))


def _made_before(job: Job) -> str | RunDirectoryError | None:
    """Return the directory of a run that is done, or what is wrong with it; `None` for one that is to be made."""
    path = job.directory
    if job.force or job.until != EVALUATE or not is_done(job):
        return None
    from hamdg.stages import pipeline

    try:
        pipeline.check_done(RunDirectory(path))
    except RunDirectoryError as error:
        # Another process may be making it again.
        return None if holder(path) is not None else error
    return str(path)


def _what(count: int, done: int) -> str:
    runs = counted(count, "run")
    return f"{runs}, {done} of them done before" if done else runs


def _where(launcher: Launcher, workers: int, threads: int) -> str:
    each = f", {counted(threads, 'thread')} each" if threads else ""
    return f"{workers} at a time by {type(launcher).__name__}{each}"
