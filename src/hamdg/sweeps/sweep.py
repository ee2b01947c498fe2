"""A sweep: recipes under several conditions, for all held-out domains and seeds, each run in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, TextIO

from hamdg import console
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.config.shipped import find_file, public_name
from hamdg.data.find_images import find_images
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError, HamdgError, RunDirectoryError, WeightsError
from hamdg.files import user_path, write_text
from hamdg.report.aggregate import EVERY_SOURCE
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory, training_identity
from hamdg.sweeps.queue import Claims, run_all
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import excerpt, listed, reason_of


class SweepError(HamdgError, RuntimeError):
    """Some jobs of a sweep failed; the others are done."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        condition: Name of the condition.
        variant: Name of the variant.
        recipe: Its recipe.
        until: Its last stage.
        command: The command that makes this run alone.
    """

    condition: str
    variant: str
    recipe: Recipe
    until: Literal["merge", "evaluate"]
    command: str = ""

    def __str__(self) -> str:
        place = f"condition `{self.condition}`, held out `{self.recipe.held_out}`, seed {self.recipe.seed}"
        return f"variant `{self.variant}`, {place}"


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        job: The job.
        run: Its run directory; empty if it failed.
        error: Why it failed, in a sentence; empty if it is done.
        traceback: The file that holds the traceback of its failure.
    """

    job: Job
    run: str
    error: str = ""
    traceback: str = ""


def jobs_of(sweep: Sweep, file: Path, threads: int) -> list[Job]:
    """Return all runs of a sweep, those of one condition, domain and seed together.

    Args:
        sweep: The sweep.
        file: The sweep file, which the variants' recipes are relative to.
        threads: CPU threads of each run.

    Raises:
        ConfigError: If a recipe is wrong, two jobs are one and the same run, or no run has a row that is asked for.
    """
    jobs = []
    for (condition, shared), domain, seed in product(sweep.conditions.items(), sweep.held_out, sweep.seeds):
        for name, variant in sweep.variants.items():
            given: dict[str, object] = {
                "label": name,
                "held_out": domain,
                "seed": seed,
                "controls.erm": False,
                "runtime.root": sweep.root,
            }
            changes = [*shared.items(), *variant.set.items(), *given.items()]
            silent = [("runtime.threads", threads), ("runtime.quiet", True), ("runtime.report", False)]
            with _named(f"variant `{name}`, condition `{condition}`, held out `{domain}`, seed {seed}"):
                source = _recipe_file(file, variant.recipe)
                recipe = read_recipe(source, changes=[*changes, *silent], place=f"in `{file}`")
                run_directory(recipe)  # which asks the merge library, the only one to know methods and options
            jobs.append(Job(condition, name, recipe, sweep.until, _command(source, changes)))
    _refuse_twins(jobs)
    _check_rows(sweep, file, jobs)
    return jobs


def run_sweep(path: Path, sweep: Sweep, processes: int | None = None) -> list[Outcome]:
    """Run all jobs of a sweep in parallel processes; finished ones are skipped, failed ones do not stop the others.

    Several sweeps may run in one folder at once: each waits for what another is at, and takes over what a killed one
    left.

    Args:
        path: The sweep file.
        sweep: What it says.
        processes: Runs at the same time; by default one per core.

    Returns:
        The outcome of every job, in the order of the jobs.

    Raises:
        SweepError: If a job failed; the ledger and the traceback's file are named.
        DataError: If the images of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
        RunDirectoryError: If the folder of the runs cannot be written to.
    """
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // (processes or cores))
    jobs = jobs_of(sweep, path, threads)
    workers = min(processes or cores, len(jobs))
    _find_what_is_needed(jobs)
    folder = user_path(sweep.root, "root") / "sweeps"
    ledger = folder / f"{path.stem}-{_digest(sweep)}.jsonl"
    with _appended(ledger) as lines:
        console.stage(f"{len(jobs)} runs, {workers} at a time with {threads} thread(s) each; ledger {ledger}")
        # Processes read it before they import torch: two with as many threads as cores each starve each other.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        work: list[Callable[[], str]] = [partial(_run, job) for job in jobs]
        outcomes: dict[int, Outcome] = {}
        for number, result in run_all(work, _by_training(jobs), Claims(folder / "claims"), workers):
            outcomes[number] = outcome = _outcome(jobs[number], result, ledger.with_suffix(""))
            lines.write(json.dumps(_entry(outcome)) + "\n")
            lines.flush()
            how = f"failed: {jobs[number]}: {outcome.error}" if outcome.error else f"done: {jobs[number]}"
            console.note(f"{len(outcomes)}/{len(jobs)} {how}")
    found = [outcomes[number] for number in range(len(jobs))]
    _raise_failures(found, ledger)
    return found


def _raise_failures(outcomes: Sequence[Outcome], ledger: Path) -> None:
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        first = failed[0]
        count = f"{len(failed)} of {len(outcomes)} runs failed" + ("; the first is" if len(failed) > 1 else ":")
        raise SweepError(
            f"{count} {first.job}: {first.error} Its traceback is in `{first.traceback}`, all outcomes are in "
            f"`{ledger}`; the same command tries what failed again."
        )


def _find_what_is_needed(jobs: list[Job]) -> None:
    """TensorCheck for images and weights before anything runs: one sentence instead of a failure of every job."""
    from hamdg.models import find_weights

    open_jobs = [job for job in jobs if not RunDirectory(run_directory(job.recipe)).is_done]
    for job in {(one.recipe.benchmark, repr(one.recipe.data)): one for one in reversed(open_jobs)}.values():
        with _named(str(job)):
            find_images(job.recipe, held_out=job.until == "evaluate")
    for job in {repr(one.recipe.model): one for one in reversed(open_jobs)}.values():
        with _named(str(job)):
            find_weights(job.recipe.model)


@contextmanager
def _named(job: str) -> Iterator[None]:
    """Name the job in an error about what it needs."""
    try:
        yield
    except (ConfigError, DataError, WeightsError) as error:
        raise type(error)(f"{job[:1].upper()}{job[1:]}: {error}") from error


@contextmanager
def _appended(ledger: Path) -> Iterator[TextIO]:
    """Open the ledger, and explain why that cannot be done."""
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        stream = ledger.open("a", encoding="utf-8")
    except OSError as error:
        reason = reason_of(error).lower()
        raise RunDirectoryError(
            f"Cannot write to `{ledger.parent}`: {reason}; choose another `root` in the sweep file."
        ) from error
    with stream:
        yield stream


def _by_training(jobs: list[Job]) -> dict[str, list[int]]:
    """Return the numbers of the jobs, those together that differ in the merge alone: the first one trains for all."""
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(training_identity(job.recipe), []).append(number)
    return groups


def _run(job: Job) -> str:
    from hamdg.stages import pipeline

    return str(pipeline.run(job.recipe, command=job.command, until=job.until, show=False).parent)


def _recipe_file(file: Path, name: str) -> Path:
    """Return the recipe that a variant names: a file by its path from the sweep file, or one that comes with hamdg."""
    own = Path(os.path.normpath(file.parent / name))
    return own if own.exists() or Path(name).is_absolute() or name.startswith(".") else find_file(name)


def _command(recipe: Path, changes: Sequence[tuple[str, object]]) -> str:
    """Return the command that makes a run of a sweep alone: the page and the record of a run name it."""
    values = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes]
    return shlex.join(["hamdg", "run", public_name(recipe), *values])


def _outcome(job: Job, result: str | BaseException, folder: Path) -> Outcome:
    """Return what became of a job; the traceback of a failed one is written to a file, that of an earlier try removed.

    Args:
        job: The job.
        result: Its run directory or its error.
        folder: Where tracebacks are written.
    """
    run = run_directory(job.recipe)
    file = folder / f"{'-'.join(run.parts[-4:])}.txt"
    if isinstance(result, str):
        file.unlink(missing_ok=True)
        return Outcome(job, result)
    write_text(file, f"{job}\n\n{''.join(traceback.format_exception(result))}")
    return Outcome(job, "", _reason(result), str(file))


def _reason(error: BaseException) -> str:
    if isinstance(error, BrokenProcessPool):
        return "Its process was killed; the system does that when memory runs out."
    text = str(error) if isinstance(error, HamdgError) else f"{type(error).__name__}: {excerpt(error, 300)}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _entry(outcome: Outcome) -> dict[str, object]:
    job = outcome.job
    return {
        "condition": job.condition,
        "variant": job.variant,
        "held_out": job.recipe.held_out,
        "seed": job.recipe.seed,
        "run": outcome.run,
        "error": outcome.error,
        "traceback": outcome.traceback,
    }


def _digest(sweep: Sweep) -> str:
    return hashlib.sha256(repr(sweep).encode()).hexdigest()[:8]


def _refuse_twins(jobs: list[Job]) -> None:
    """Refuse jobs that share a run directory: the second would take the first one's label."""
    first: dict[Path, Job] = {}
    for job in jobs:
        twin = first.setdefault(run_directory(job.recipe), job)
        if twin is not job:
            raise ConfigError(
                f"`{job.variant}` ({job.condition}, {job.recipe.held_out}, seed {job.recipe.seed}) is the same run as "
                f"`{twin.variant}` ({twin.condition}); drop one of them."
            )


def _check_rows(sweep: Sweep, file: Path, jobs: list[Job]) -> None:
    """Refuse rows that no run of their variant will have, before hours of training show it."""
    from hamdg.algorithms import plan

    for name, variant in sweep.variants.items():
        own = [job.recipe for job in jobs if job.variant == name]
        keys = {key: None for one in own for key in plan(one.algorithm).rows(benchmark_of(one).sources(one.held_out))}
        for row in variant.rows or {}:
            if row not in keys and not (row == EVERY_SOURCE and any("/" in key for key in keys)):
                raise ConfigError(
                    f"`{file}`: no run of the variant `{name}` has a row `{excerpt(row)}`; under `rows` it can name "
                    f"{listed([*keys, EVERY_SOURCE] if any('/' in key for key in keys) else list(keys))}."
                )
