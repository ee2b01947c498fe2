"""A sweep: one recipe under several conditions and variants, for all held-out domains and seeds."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import yaml

from hamdg import console
from hamdg.config import Recipe, run_directory, training_identity
from hamdg.data.chosen import find_pictures
from hamdg.errors import ConfigError, HamdgError
from hamdg.recipe import read_recipe
from hamdg.runs.directory import RunDirectory

Settings = Mapping[str, object]


class SweepError(HamdgError, RuntimeError):
    """Some jobs of a sweep failed; the others are done."""


@dataclass(frozen=True)
class Variant:
    """One line of a sweep's table.

    Args:
        recipe: The recipe that it starts from, relative to the sweep file.
        set: Keys that differ from the recipe.
        rows: Which rows of its runs' tables the page of results shows, and under which label.
    """

    recipe: str
    set: Settings = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        held_out: Domains, each held out in turn.
        seeds: Seeds.
        variants: Recipes to compare, by their name in the table.
        conditions: Keys that all variants share, by the condition's name.
        until: The last stage: `merge` never opens a held-out domain (for choosing defaults).
        out: The page of results, relative to the folder that the command runs in; `null` for none. The sweep owns one
            part of it.
        title: That part's heading.
        intro: What that part says before its tables (Markdown).
        root: Folder of the run directories.
    """

    held_out: list[str]
    seeds: list[int]
    variants: dict[str, Variant]
    conditions: dict[str, Settings] = field(default_factory=lambda: {"clean": {}})
    until: Literal["merge", "evaluate"] = "evaluate"
    out: str | None = None
    title: str = ""
    intro: str = ""
    root: str = "lightning_logs"


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    condition: str
    variant: str
    recipe: Recipe
    until: Literal["merge", "evaluate"]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its run directory, or the traceback of its failure."""

    job: Job
    run: str
    error: str = ""


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: If it is missing, is no YAML mapping, or has an unknown, missing or mistyped key.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read the sweep file `{path}`: {(error.strerror or str(error)).lower()}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"`{path}` is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"`{path}` must hold a mapping with `held_out`, `seeds` and `variants`.")
    _refuse_unknown(values, list(Sweep.__dataclass_fields__), path)
    for key in ("held_out", "seeds", "variants"):
        if not values.get(key):
            raise ConfigError(f"`{path}` lacks `{key}`, which must not be empty.")
    _check_kinds(values, "", path)
    variants = {}
    for name, parts in values.pop("variants").items():
        _refuse_unknown(parts, list(Variant.__dataclass_fields__), path)
        if "recipe" not in parts:
            raise ConfigError(f"`{path}`: variant `{name}` lacks `recipe`, the recipe file that it starts from.")
        _check_kinds(parts, f"variants.{name}.", path)
        variants[name] = Variant(**parts)
    return Sweep(variants=variants, **values)


def jobs_of(sweep: Sweep, folder: Path, threads: int) -> list[Job]:
    """Return all runs of a sweep, those of one condition, domain and seed together.

    Args:
        sweep: The sweep.
        folder: Folder that the variants' recipes are relative to.
        threads: CPU threads of each run.

    Raises:
        ConfigError: If a recipe is wrong, or two jobs are one and the same run.
    """
    fixed = [f"--runtime.root={sweep.root}", f"--runtime.threads={threads}", "--runtime.report=false"]
    jobs = []
    for (condition, shared), domain, seed in product(sweep.conditions.items(), sweep.held_out, sweep.seeds):
        for name, variant in sweep.variants.items():
            own = [*_overrides(shared), *_overrides(variant.set), f"--label={name}"]
            place = [f"--held_out={domain}", f"--seed={seed}", "--controls.erm=false", "--runtime.quiet=true"]
            recipe = read_recipe(folder / variant.recipe, [*own, *place, *fixed])
            jobs.append(Job(condition, name, recipe, sweep.until))
    _refuse_twins(jobs)
    return jobs


def run_sweep(path: Path, processes: int | None = None) -> list[Outcome]:
    """Run all jobs of a sweep in parallel processes; finished ones are skipped, failed ones do not stop the others.

    Args:
        path: The sweep file.
        processes: Runs at the same time; by default one per core.

    Returns:
        The outcome of every job, in the order of the jobs.

    Raises:
        SweepError: If a job failed; its traceback is in the ledger.
        DataError: If the pictures of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
    """
    sweep = read_sweep(path)
    cores = len(os.sched_getaffinity(0))
    workers = processes or cores
    threads = max(1, cores // workers)
    jobs = jobs_of(sweep, path.parent, threads)
    _find_what_is_needed(jobs)
    ledger = Path(sweep.root) / "sweeps" / f"{path.stem}-{_digest(sweep)}.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    console.stage(f"{len(jobs)} runs, {workers} at a time with {threads} thread(s) each; ledger {ledger}")
    outcomes: dict[int, Outcome] = {}
    with ledger.open("a") as lines:
        for count, (number, outcome) in enumerate(_outcomes(jobs, workers, threads), start=1):
            outcomes[number] = outcome
            lines.write(json.dumps(_entry(outcome)) + "\n")
            lines.flush()
            what = f"{outcome.job.condition} | {outcome.job.recipe.held_out} | seed {outcome.job.recipe.seed}"
            console.note(f"{count}/{len(jobs)} {'failed' if outcome.error else 'done'}: {what} | {outcome.job.variant}")
    failed = [outcome for outcome in outcomes.values() if outcome.error]
    if failed:
        last = failed[0].error.strip().splitlines()[-1]
        raise SweepError(f"{len(failed)} of {len(jobs)} runs failed; the first with `{last}`. See `{ledger}`.")
    return [outcomes[number] for number in range(len(jobs))]


def _find_what_is_needed(jobs: list[Job]) -> None:
    """Look for pictures and weights before anything runs: one sentence instead of a failure of every job."""
    from hamdg.models import find_weights

    open_jobs = [job for job in jobs if not RunDirectory(run_directory(job.recipe)).is_done]
    for job in {(one.recipe.benchmark, repr(one.recipe.data)): one for one in open_jobs}.values():
        find_pictures(job.recipe, held_out=job.until == "evaluate")
    for model in {repr(one.recipe.model): one.recipe.model for one in open_jobs}.values():
        find_weights(model)


def _outcomes(jobs: list[Job], workers: int, threads: int) -> Iterator[tuple[int, Outcome]]:
    # Workers read it before they import torch: two processes with as many threads as cores each starve each other.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(workers, get_context("spawn"), _die_with_parent, (os.getpid(),)) as pool:
        futures: dict[Future[Outcome], list[int]] = {}

        def submit(groups: Iterable[list[int]]) -> None:
            for group in groups:
                futures[pool.submit(_run, jobs[group[0]])] = group

        submit(_by_training(jobs))
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    number, *others = futures.pop(future)
                    outcome = _result(future, jobs[number])
                    # What the first has trained is there for all others; if it failed, the next one tries.
                    submit([[other] for other in others] if not outcome.error else [others] if others else [])
                    yield number, outcome
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _by_training(jobs: list[Job]) -> list[list[int]]:
    """Return the numbers of the jobs, those together that differ in the merge alone: the first one trains for all."""
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(training_identity(job.recipe), []).append(number)
    return list(groups.values())


def _die_with_parent(parent: int) -> None:
    """End this worker soon after the sweep was killed; its run resumes when the sweep is repeated."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _result(future: Future[Outcome], job: Job) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    return Outcome(job, "", "".join(traceback.format_exception(error)))


def _run(job: Job) -> Outcome:
    from hamdg.stages import pipeline

    record = pipeline.run(
        job.recipe, command=f"hamdg sweep ({job.condition}, {job.variant})", until=job.until, show=False
    )
    return Outcome(job, str(RunDirectory(record.parent).path))


def _entry(outcome: Outcome) -> dict[str, object]:
    job = outcome.job
    return {
        "condition": job.condition,
        "variant": job.variant,
        "held_out": job.recipe.held_out,
        "seed": job.recipe.seed,
        "run": outcome.run,
        "error": outcome.error,
    }


def _overrides(settings: Settings) -> list[str]:
    return [f"--{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in settings.items()]


def _digest(sweep: Sweep) -> str:
    return hashlib.sha256(repr(sweep).encode()).hexdigest()[:8]


def _refuse_twins(jobs: list[Job]) -> None:
    """Refuse jobs that share a run directory: the second would find it in use, or take the first one's label."""
    first: dict[Path, Job] = {}
    for job in jobs:
        twin = first.setdefault(run_directory(job.recipe), job)
        if twin is not job:
            raise ConfigError(
                f"`{job.variant}` ({job.condition}, {job.recipe.held_out}, seed {job.recipe.seed}) is the same run as "
                f"`{twin.variant}` ({twin.condition}); drop one of them."
            )


def _check_kinds(values: Mapping[str, object], place: str, path: Path) -> None:
    for key, value in values.items():
        words, fits = _KINDS[key]
        if not fits(value):
            raise ConfigError(f"`{path}`: expected `{place}{key}` to be {words}, but got `{value}`.")


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _sections(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(section, dict) for section in value.values())


_KINDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "held_out": ("a list of domains", lambda value: _all(value, str)),
    "seeds": ("a list of integers", lambda value: _all(value, int)),
    "variants": ("a mapping of names to `{recipe: ..., set: {...}}`", _sections),
    "conditions": ("a mapping of names to settings", _sections),
    "until": ("`merge` or `evaluate`", lambda value: value in ("merge", "evaluate")),
    "out": ("a path or `null`", lambda value: value is None or isinstance(value, str)),
    "root": ("a path", lambda value: isinstance(value, str)),
    "recipe": ("the path of a recipe", lambda value: isinstance(value, str)),
    "title": ("a text", lambda value: isinstance(value, str)),
    "intro": ("a text", lambda value: isinstance(value, str)),
    "rows": ("a mapping of row keys to names", lambda value: isinstance(value, dict)),
    "set": ("a mapping of keys to values", lambda value: isinstance(value, dict)),
}


def _refuse_unknown(values: Mapping[str, object], known: list[str], path: Path) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it can hold {', '.join(f'`{name}`' for name in known)}."
            raise ConfigError(f"`{path}`: there is no key `{key}` in a sweep; {hint}")
