"""The variants of a sweep under one condition: each with one combination of the grid's values, and where it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hamdg.config.keys import algorithm_of
from hamdg.config.parsing import Setting
from hamdg.config.recipe_file import file_settings, named_algorithm, read_unchecked
from hamdg.config.shipped import find_beside
from hamdg.data.benchmark import JOIN, Benchmark
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError, WeightsError
from hamdg.sweeps.grid import Grid, defines, named, points, short_names, size
from hamdg.sweeps.random_draws import Distribution
from hamdg.sweeps.sweep_file import ALL, Include, Sweep, Variant
from hamdg.text import capitalized

# Keys of a recipe with values that take the place of its own.
Changes = dict[str, object]
# Every one is a recipe that is read and checked before anything runs.
MOST_RUNS = 100_000


@dataclass(frozen=True)
class Point:
    """A variant with one combination of the grid's values, under one condition.

    Args:
        origin: The name of the variant in the file.
        name: Its name with the grid's values.
        label: How tables call its runs.
        source: The recipe file.
        given: What that says.
        settings: What differs from the recipe.
        seeds: Its seeds.
        draws: How many draws of random settings there are; 0 for none.
        ranges: Where the random settings are drawn from.
        benchmark: The benchmark.
        domains: Its domains without those that the recipe excludes.
        held_out: The domains, each held out in turn; several at once are joined.
        pairs: Pairs of domains held out at once, for cross-validation.
    """

    origin: str
    name: str
    label: str
    source: Path
    given: Sequence[Setting]
    settings: Changes
    seeds: Sequence[int]
    draws: int
    ranges: Mapping[str, Distribution]
    benchmark: Benchmark
    domains: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()


def points_of(sweep: Sweep, file: Path, condition: str, where: str) -> list[Point]:
    """Return the points of a sweep under one of its conditions: those of the variants, then those of `include`.

    Args:
        sweep: The sweep.
        file: Its file.
        condition: The name of the condition.
        where: Where settings stand, for messages.

    Raises:
        ConfigError: If a recipe or a domain does not exist, or two points have one name.
        DataError: If the images of `custom` make no benchmark.
    """
    found: list[Point] = []
    for name, variant in sweep.variants.items():
        with naming(f"variant `{name}`, condition `{condition}`"):
            found += _crossed(sweep, file, condition, where, name, variant)
    for one in sweep.include:
        if one.conditions is None or condition in one.conditions:
            with naming(f"variant `{one.variant}` of `include`, condition `{condition}`"):
                found.append(_included(sweep, file, condition, where, one))
    # The same variant on more seeds or domains is no second one.
    names = list({(one.name, one.origin, repr(one.settings)): one.name for one in found}.values())
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"`{file}` has two variants called `{name}`; give one of them another name.")
    return found


def check_size(sweep: Sweep, file: Path) -> None:
    """Refuse a sweep of more runs than anybody waits for, before one of them is made up.

    Raises:
        ConfigError: If it has more; or if a recipe cannot be read.
    """
    count = 0
    for condition, shared in sweep.conditions.items():
        for name, variant in sweep.variants.items():
            with naming(f"variant `{name}`, condition `{condition}`"):
                source = find_beside(file, variant.recipe)
                of_variant = sum(size(used) for _, _, used in _grids(sweep, source, shared, variant))
                count += max(1, len(sweep.held_out_of(condition))) * of_variant
    # `held_out: all` counts as one here: how many domains there are is known when the recipes are read.
    count *= len(sweep.seeds) * (sweep.random.draws if sweep.random else 1)
    if count > MOST_RUNS:
        raise ConfigError(
            f"`{file}` asks for {count:,} runs or more, but a sweep can have {MOST_RUNS:,}; give its `grid` fewer "
            "values, or split it into several files."
        )


@contextmanager
def naming(job: str) -> Iterator[None]:
    """Name a job in an error about what it needs."""
    try:
        yield
    except (ConfigError, DataError, WeightsError) as error:
        raise type(error)(f"{capitalized(job)}: {error}") from error


def _crossed(sweep: Sweep, file: Path, condition: str, where: str, name: str, variant: Variant) -> Iterator[Point]:
    """Yield a variant with every combination of those of the grid's values that its algorithm uses."""
    source, shared = find_beside(file, variant.recipe), sweep.conditions[condition]
    held_out = sweep.held_out_of(condition)
    names = short_names(list(sweep.grid))
    for head, own, used in _grids(sweep, source, shared, variant):
        for suffix, settings in points(used, names):
            whole = f"{named(head, names)}{suffix}"
            point = _point(sweep, where, source, _common(shared, own) | dict(variant.set) | head | settings, own)
            label = f"{variant.set.get('label', name)}{whole}".removeprefix(", ")
            yield _placed(replace(point, origin=name, name=f"{name}{whole}", label=label), sweep, held_out)


def _grids(
    sweep: Sweep, source: Path, shared: Mapping[str, object], variant: Variant
) -> Iterator[tuple[Changes, str, Grid]]:
    """Yield a variant's algorithms: what sets each of them, its name, and what of the grid it uses."""
    # Which other keys an algorithm uses is known when it is.
    for algorithm in sweep.grid.get("algorithm", [None]):
        head: Changes = {} if algorithm is None else {"algorithm": algorithm}
        own = str(algorithm or named_algorithm(source, {**shared, **variant.set}.items()))
        yield head, own, {k: values for k, values in sweep.grid.items() if k != "algorithm" and defines(k, own)}


def _included(sweep: Sweep, file: Path, condition: str, where: str, one: Include) -> Point:
    base = sweep.origins[one.variant]
    source, shared = find_beside(file, base.recipe), sweep.conditions[condition]
    name = one.variant + (named(one.set, short_names(list(one.set))) if one.recipe is None else "")
    settings = dict(base.set) | dict(one.set)
    algorithm = named_algorithm(source, {**shared, **settings}.items())
    point = replace(
        _point(sweep, where, source, _common(shared, algorithm) | settings, algorithm),
        origin=one.variant,
        name=name,
        label=name,
        draws=0,
        ranges={},
        seeds=list(sweep.seeds if one.seeds is None else one.seeds),
    )
    return _placed(point, sweep, sweep.held_out_of(condition) if one.held_out is None else one.held_out)


def _common(shared: Mapping[str, object], algorithm: str) -> Changes:
    """Return what a condition says of an algorithm: it is for variants of several, none of which has another's keys."""
    return {
        key: value
        for key, value in shared.items()
        # Where it is run is no setting of it.
        if key != "held_out" and algorithm_of(key) in (None, algorithm)
    }


def _point(sweep: Sweep, where: str, source: Path, settings: Changes, algorithm: str) -> Point:
    """Return a point without names and domains."""
    random = sweep.random
    ranges = {key: one for key, one in (random.ranges if random else {}).items() if defines(key, algorithm)}
    draws = random.draws if random is not None and ranges else 0
    recipe = read_unchecked(source, changes=list(settings.items()), place=where)
    bench = benchmark_of(recipe)
    never = [bench.domain(str(name), "excluded") for name in recipe.excluded]
    domains = tuple(name for name in bench.domains if name not in never)
    return Point("", "", "", source, file_settings(source), settings, list(sweep.seeds), draws, ranges, bench, domains)


def _placed(point: Point, sweep: Sweep, held_out: Sequence[str]) -> Point:
    """Return a point with the domains that it is run on, as its benchmark has them."""
    bench = point.benchmark
    found = [name for text in held_out for name in (point.domains if text == ALL else [joined(bench, text)])]
    for name in found:
        if found.count(name) > 1:
            raise ConfigError(f"`held_out` names the domain `{name}` twice; keep one of its names.")
    if sweep.leave_out == "one":
        return replace(point, held_out=tuple(found))
    for name in found:
        if name not in bench.domains:
            raise ConfigError(f"`leave_out: pairs` takes single domains, but `held_out` names `{name}`; take it out.")
    pairs = [joined(bench, f"{one}{JOIN}{other}") for one in found for other in point.domains if other != one]
    return replace(point, held_out=tuple(found), pairs=tuple(dict.fromkeys(pairs)))


def joined(bench: Benchmark, held_out: str) -> str:
    """Return the domains that `held_out` names as recipes have them.

    Raises:
        ConfigError: If a domain does not exist.
    """
    return JOIN.join(bench.targets(held_out))
