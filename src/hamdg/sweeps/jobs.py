"""The runs of a sweep: every variant under every condition, for every held-out domain and seed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

from hamdg.config.keys import value_at
from hamdg.config.reading import read_given
from hamdg.config.recipe import EvaluateConfig, Recipe
from hamdg.config.shipped import public_name
from hamdg.data.find_images import find_images
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError
from hamdg.report.tables.options import EVERY_SOURCE
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory, training_identity
from hamdg.runs.manifest import check_not_records_only
from hamdg.runs.record import EVALUATE, VALIDATE, is_averaged, read_record, rows_to_measure
from hamdg.sweeps.grid import defines
from hamdg.sweeps.picking import Exclusion, fits
from hamdg.sweeps.points import Changes, Point, check_size, joined, naming, points_of
from hamdg.sweeps.random_draws import drawn
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import excerpt, listed


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        condition: Name of the condition.
        variant: Name of the variant, with its values of the grid and the number of its draw.
        recipe: Its recipe.
        until: What comes last: `validate` scores on source hold-out sets alone, `evaluate` on the held-out domain.
        command: The command that makes this run alone.
        origin: Name of the variant in the file.
        family: Name of the variant without its draw: one of a family's draws is chosen.
        draw: The number of the draw of its settings; `None` where nothing is drawn.
        is_pair: Whether it holds out one more domain, for cross-validation.
        force: Whether it is made again if it is done.
    """

    condition: str
    variant: str
    recipe: Recipe
    until: str
    command: str = ""
    origin: str = ""
    family: str = ""
    draw: int | None = None
    is_pair: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        for name in ("origin", "family"):
            object.__setattr__(self, name, getattr(self, name) or self.variant)

    @cached_property
    def directory(self) -> Path:
        """The run's directory."""
        return run_directory(self.recipe)

    @cached_property
    def training(self) -> str:
        """The hash that it shares with jobs that differ in what follows training alone."""
        return training_identity(self.recipe)

    def __str__(self) -> str:
        place = f"condition `{self.condition}`, held out `{self.recipe.held_out}`, seed {self.recipe.seed}"
        return f"variant `{self.variant}`, {place}"


def jobs_of(sweep: Sweep, file: Path, threads: int = 0, where: str = "") -> list[Job]:
    """Return all runs of a sweep, those of one condition, domain and seed together.

    Args:
        sweep: The sweep.
        file: The sweep file, which the variants' recipes are relative to.
        threads: CPU threads of each run whose settings do not say; 0 for what it gets when it runs.
        where: Where the sweep's settings stand, for messages; in the file when left out.

    Raises:
        ConfigError: If a recipe is wrong, two jobs are one and the same run, no run has a row that is asked for, two
            variants give one label to their results, no run is excluded by an item of `exclude`, or no variant uses a
            key that varies.
    """
    where, effects = where or f"in `{file}`", _Effects(dict(enumerate(sweep.exclude)))
    check_size(sweep, file)
    jobs: list[Job] = []
    used: set[str] = set()
    for condition in sweep.conditions:
        points = points_of(sweep, file, condition, where)
        used.update(key for one in points for key in (*one.settings, *one.ranges))
        single = [domain for one in points for domain in one.held_out]
        domains = dict.fromkeys([*single, *(domain for one in points for domain in one.pairs)])
        seeds = dict.fromkeys(seed for one in points for seed in one.seeds)
        for domain, seed, point in product(domains, seeds, points):
            if seed in point.seeds and domain in (*point.held_out, *point.pairs):
                place = _PlacedPoint(condition, point, domain, seed)
                for draw in range(point.draws) if point.draws else (None,):
                    jobs += _made(sweep, where, place, draw, threads, effects)
    for key in (*sweep.grid, *(sweep.random.ranges if sweep.random else ())):
        if key not in used:
            raise ConfigError(
                f"No variant of the sweep uses `{key}` ({where}), so that its values would make no different runs; "
                f"leave it out."
            )
    for key, makes_others in effects.draws.items():
        if not makes_others:
            raise ConfigError(
                f"No value that was drawn for `{key}` makes another run ({where}), so that its draws would all be one; "
                "take it out of `random.ranges`."
            )
    for number in effects.unused:
        raise ConfigError(f"`{file}`: `exclude.{number}` fits no run; correct it, or leave it out.")
    if not jobs:
        raise ConfigError(f"`{file}` excludes all of its runs; leave some.")
    jobs = _without_twins(jobs)
    _check_rows(sweep, file, jobs)
    _check_labels(sweep, file, jobs)
    return jobs


@dataclass
class _Effects:
    """What parts of a sweep file have done so far.

    Args:
        unused: The exclusions that fitted no run, by their numbers.
        draws: Whether a drawn value made another run than the recipe's own value, by the key.
    """

    unused: dict[int, Exclusion]
    draws: dict[str, bool] = field(default_factory=dict)


class _PlacedPoint(NamedTuple):
    """A point of a sweep with a held-out domain and a seed."""

    condition: str
    point: Point
    domain: str
    seed: int


def _made(
    sweep: Sweep, where: str, place: _PlacedPoint, draw: int | None, threads: int, effects: _Effects
) -> Iterator[Job]:
    """Yield the job of a place and a draw, unless it is excluded, and note what exclusions and draws did."""
    condition, point, domain, seed = place
    values = drawn(point.ranges, draw, seed) if draw else {}
    suffix = "" if draw is None else f", draw {draw}"
    settings = point.settings | values
    facts: dict[str, Sequence[object]] = {
        "variant": (f"{point.name}{suffix}", point.name, point.origin),
        "condition": (condition,),
        "held_out": (domain,),
        "seed": (seed,),
        "draw": (draw,),
        **{key: (value,) for key, value in settings.items()},
    }
    exclusions = {number: _canonical(one, point) for number, one in enumerate(sweep.exclude)}
    if _excluded(exclusions, facts, effects.unused):
        return
    given: dict[str, object] = {"label": f"{point.label}{suffix}", "held_out": domain, "seed": seed}
    given |= {} if sweep.controls else {"controls.erm": False}
    given["runtime.root"] = sweep.root
    silent: dict[str, object] = {"runtime.threads": threads, "runtime.quiet": True}
    # Lines between models are for pages alone, and take as long as the rest of a small evaluation.
    silent |= {} if sweep.reports else {"runtime.report": False, "evaluate.lines": 0}
    if sweep.only_shown and (rows := sweep.origins[point.origin].rows) is not None:
        silent["evaluate.rows"] = list(rows)
    silent = {key: value for key, value in silent.items() if key not in settings}
    with naming(f"variant `{point.name}{suffix}`, condition `{condition}`, held out `{domain}`, seed {seed}"):
        changes = settings | given
        recipe = _read(point, changes | silent, where)
    # What the recipe itself says, or leaves at its default.
    others = {key for one in exclusions.values() for key in one} - facts.keys()
    facts |= {key: (value_at(recipe, key),) for key in others if defines(key, recipe.algorithm)}
    if not _excluded(exclusions, facts, effects.unused):
        _note_draws(effects.draws, point, values, recipe, changes | silent, where)
        command = _command(point.source, list(changes.items()))
        is_pair = domain not in point.held_out
        yield Job(
            condition, f"{point.name}{suffix}", recipe, sweep.until, command, point.origin, point.name, draw, is_pair
        )


def _read(point: Point, changes: Changes, where: str) -> Recipe:
    recipe = read_given(point.given, changes=list(changes.items()), place=where)
    run_directory(recipe)  # which asks the merge library, the only one to know methods and options
    return recipe


def _note_draws(
    draws: dict[str, bool], point: Point, values: Mapping[str, object], recipe: Recipe, changes: Changes, where: str
) -> None:
    """Note of each drawn key whether the run would be another one with the recipe's own value."""
    for key in values:
        if draws.get(key):
            continue
        others = {name: value for name, value in changes.items() if name != key}
        others |= {key: point.settings[key]} if key in point.settings else {}
        is_other = True  # also where the rest makes no sense without it
        with suppress(ConfigError):
            plain = _read(point, others, where)
            if plain == recipe:
                continue
            is_other = run_directory(plain) != run_directory(recipe)
        draws[key] = is_other


def _excluded(
    exclusions: Mapping[int, Exclusion], facts: Mapping[str, Sequence[object]], unused: dict[int, Exclusion]
) -> bool:
    found = [number for number, one in exclusions.items() if fits(facts, one)]
    for number in found:
        unused.pop(number, None)
    return bool(found)


def _canonical(one: Exclusion, point: Point) -> Exclusion:
    """Return an exclusion with domains as the benchmark has them."""
    names = [_canonical_name(point, str(name)) for name in one.get("held_out", ())]
    return {**one, "held_out": names} if names else one


def _canonical_name(point: Point, held_out: str) -> str:
    with suppress(ConfigError):  # another variant's benchmark may have it
        return joined(point.benchmark, held_out)
    return held_out


def is_done(job: Job) -> bool:
    """Return whether a run has done all that its sweep asks for."""
    run = RunDirectory(job.directory)
    if job.until == EVALUATE:
        return run.is_done and not _lacks_figures(run, job.recipe.evaluate)
    return run.validation.is_file() if job.until == VALIDATE else run.step(job.until).is_done


def _lacks_figures(run: RunDirectory, wanted: EvaluateConfig) -> bool:
    try:
        record = read_record(run.record)
        return rows_to_measure(record, wanted.rows) != () or not is_averaged(record, wanted.average)
    except DataError:
        return False  # what is wrong with it is said elsewhere


def check_inputs(jobs: Sequence[Job]) -> None:
    """Look for images and weights before anything runs: one sentence instead of a failure of every job.

    Raises:
        DataError: If the images of a job that is not done are nowhere.
        WeightsError: If its weights are nowhere.
        RunDirectoryError: If it was unpacked, and its records lack what is asked for.
    """
    from hamdg.models import find_weights

    open_jobs = [job for job in jobs if not is_done(job)]
    for job in open_jobs:
        if not job.force:
            check_not_records_only(RunDirectory(job.directory))
    for job in {(one.recipe.benchmark, repr(one.recipe.data)): one for one in reversed(open_jobs)}.values():
        with naming(str(job)):
            find_images(job.recipe, held_out=job.until == EVALUATE)
    for job in {repr(one.recipe.model): one for one in reversed(open_jobs)}.values():
        with naming(str(job)):
            find_weights(job.recipe.model)


def by_training(jobs: Sequence[Job]) -> dict[str, list[int]]:
    """Return the numbers of the jobs, those together that differ in the merge alone: the first one trains for all."""
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(job.training, []).append(number)
    return groups


def _command(recipe: Path, changes: Sequence[tuple[str, object]]) -> str:
    """Return the command that makes a run of a sweep alone: the page and the record of a run name it."""
    values = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes]
    return shlex.join(["hamdg", "run", public_name(recipe), *values])


def _without_twins(jobs: list[Job]) -> list[Job]:
    """Return the jobs without draws that came out alike.

    Raises:
        ConfigError: If other jobs share a run directory: the second would take the first one's label.
    """
    first: dict[Path, Job] = {}
    kept = []
    for job in jobs:
        twin = first.setdefault(job.directory, job)
        if twin is job:
            kept.append(job)
        elif (twin.condition, twin.family) != (job.condition, job.family):
            where = f"{{variant: {job.origin}, condition: {job.condition}}}"
            way = "drop one of them" if job.condition == twin.condition else f"leave it out by `exclude: [{where}]`"
            raise ConfigError(
                f"`{job.variant}` ({job.condition}, {job.recipe.held_out}, seed {job.recipe.seed}) is the same run as "
                f"`{twin.variant}` ({twin.condition}); {way}."
            )
    return kept


def _check_rows(sweep: Sweep, file: Path, jobs: list[Job]) -> None:
    """Refuse rows that no run of their variant will have, before hours of training show it."""
    variants = {name: one for name, one in sweep.origins.items() if one.rows}
    if not variants:
        return
    from hamdg.stages.discovery import algorithm_of

    for name, variant in variants.items():
        own = [job.recipe for job in jobs if job.origin == name]
        if not own:  # all are excluded
            continue
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


def labels_of(sweep: Sweep, job: Job) -> Mapping[str, str] | None:
    """Return the labels of a variant's rows; with values of a grid in its name, in theirs, too."""
    rows = sweep.origins[job.origin].rows
    suffix = job.variant.removeprefix(job.origin)
    return rows if rows is None else {key: f"{label}{suffix}" for key, label in rows.items()}


def _check_labels(sweep: Sweep, file: Path, jobs: list[Job]) -> None:
    """Refuse one label for the results of two variants, which are never the same."""
    from hamdg.stages.discovery import algorithm_of

    first: dict[tuple[str, ...], str] = {}
    for job in jobs:
        recipe, labels = job.recipe, labels_of(sweep, job)
        if labels is None:
            continue
        *_, result = algorithm_of(recipe).keys(benchmark_of(recipe).sources(recipe.held_out, recipe.excluded))
        if (label := labels.get(result)) is None:
            continue
        other = first.setdefault((label, job.condition, recipe.benchmark, recipe.held_out), job.variant)
        if other != job.variant:
            raise ConfigError(
                f"`{file}`: the variants `{other}` and `{job.variant}` both call their result `{excerpt(label)}` (on "
                f"`{recipe.held_out}`), and a row is of one of them; give one of them another label under `rows`."
            )
