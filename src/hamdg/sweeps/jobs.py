"""The runs of a sweep: every variant under every condition, for every held-out domain and seed."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from hamdg.config.keys import algorithm_of
from hamdg.config.parsing import named_algorithm
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.config.shipped import find_file, public_name
from hamdg.data.find_images import find_images
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError, WeightsError
from hamdg.report.aggregate import EVERY_SOURCE
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory, training_identity
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import excerpt, listed


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        condition: Name of the condition.
        variant: Name of the variant.
        recipe: Its recipe.
        until: What comes last: `validate` scores on source hold-out sets alone, `evaluate` on the held-out domain.
        command: The command that makes this run alone.
    """

    condition: str
    variant: str
    recipe: Recipe
    until: Literal["validate", "evaluate"]
    command: str = ""

    def __str__(self) -> str:
        place = f"condition `{self.condition}`, held out `{self.recipe.held_out}`, seed {self.recipe.seed}"
        return f"variant `{self.variant}`, {place}"


def jobs_of(sweep: Sweep, file: Path, threads: int) -> list[Job]:
    """Return all runs of a sweep, those of one condition, domain and seed together.

    Args:
        sweep: The sweep.
        file: The sweep file, which the variants' recipes are relative to.
        threads: CPU threads of each run; 0 for what it finds where it runs.

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
            silent = [("runtime.threads", threads), ("runtime.quiet", True), ("runtime.report", False)]
            with _named(f"variant `{name}`, condition `{condition}`, held out `{domain}`, seed {seed}"):
                source = _recipe_file(file, variant.recipe)
                algorithm = named_algorithm(source, {**shared, **variant.set}.items())
                # A condition is for variants of several algorithms; none of them has another's section.
                common = [(key, value) for key, value in shared.items() if algorithm_of(key) in (None, algorithm)]
                changes = [*common, *variant.set.items(), *given.items()]
                recipe = read_recipe(source, changes=[*changes, *silent], place=f"in `{file}`")
                run_directory(recipe)  # which asks the merge library, the only one to know methods and options
            jobs.append(Job(condition, name, recipe, sweep.until, _command(source, changes)))
    _refuse_twins(jobs)
    _check_rows(sweep, file, jobs)
    return jobs


def check_inputs(jobs: Sequence[Job]) -> None:
    """Look for images and weights before anything runs: one sentence instead of a failure of every job.

    Raises:
        DataError: If the images of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
    """
    from hamdg.models import find_weights

    open_jobs = [job for job in jobs if not RunDirectory(run_directory(job.recipe)).is_done]
    for job in {(one.recipe.benchmark, repr(one.recipe.data)): one for one in reversed(open_jobs)}.values():
        with _named(str(job)):
            find_images(job.recipe, held_out=job.until == "evaluate")
    for job in {repr(one.recipe.model): one for one in reversed(open_jobs)}.values():
        with _named(str(job)):
            find_weights(job.recipe.model)


def by_training(jobs: Sequence[Job]) -> dict[str, list[int]]:
    """Return the numbers of the jobs, those together that differ in the merge alone: the first one trains for all."""
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(training_identity(job.recipe), []).append(number)
    return groups


@contextmanager
def _named(job: str) -> Iterator[None]:
    """Name the job in an error about what it needs."""
    try:
        yield
    except (ConfigError, DataError, WeightsError) as error:
        raise type(error)(f"{job[:1].upper()}{job[1:]}: {error}") from error


def _recipe_file(file: Path, name: str) -> Path:
    """Return the recipe that a variant names: a file by its path from the sweep file, or one that comes with hamdg."""
    own = Path(os.path.normpath(file.parent / name))
    return own if own.exists() or Path(name).is_absolute() or name.startswith(".") else find_file(name)


def _command(recipe: Path, changes: Sequence[tuple[str, object]]) -> str:
    """Return the command that makes a run of a sweep alone: the page and the record of a run name it."""
    values = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes]
    return shlex.join(["hamdg", "run", public_name(recipe), *values])


def _refuse_twins(jobs: list[Job]) -> None:
    """Refuse jobs that share a run directory: the second would take the first one's label."""
    first: dict[Path, Job] = {}
    for job in jobs:
        twin = first.setdefault(run_directory(job.recipe), job)
        if twin is not job and (twin.condition, twin.variant) == (job.condition, job.variant):
            # Exact repetitions are refused with the file; these are two names of one domain.
            raise ConfigError(f"`held_out` names the domain `{job.recipe.held_out}` twice; keep one of its names.")
        if twin is not job:
            raise ConfigError(
                f"`{job.variant}` ({job.condition}, {job.recipe.held_out}, seed {job.recipe.seed}) is the same run as "
                f"`{twin.variant}` ({twin.condition}); drop one of them."
            )


def _check_rows(sweep: Sweep, file: Path, jobs: list[Job]) -> None:
    """Refuse rows that no run of their variant will have, before hours of training show it."""
    from hamdg.stages.discovery import algorithm_of

    for name, variant in sweep.variants.items():
        own = [job.recipe for job in jobs if job.variant == name]
        keys = {
            key: None
            for one in own
            for key in algorithm_of(one).keys(benchmark_of(one).sources(one.held_out, one.excluded))
        }
        for row in variant.rows or {}:
            if row not in keys and not (row == EVERY_SOURCE and any("/" in key for key in keys)):
                raise ConfigError(
                    f"`{file}`: no run of the variant `{name}` has a row `{excerpt(row)}`; under `rows` it can name "
                    f"{listed([*keys, EVERY_SOURCE] if any('/' in key for key in keys) else list(keys))}."
                )
