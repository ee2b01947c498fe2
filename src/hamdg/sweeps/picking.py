"""Selects runs of a sweep: `exclude` of its file, `--only` and `--shard` of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar, get_origin

from hamdg.config.keys import known, type_of, unknown
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.sweeps.checking import Checker, Settings
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import members

# What distinguishes runs, beside the keys of their recipes.
FIELDS = ("variant", "condition", "held_out", "seed", "draw")
# By key, the values of which one has to fit.
Exclusion = Mapping[str, Sequence[object]]


class Run(Protocol):
    """What tells a run of a sweep from others."""

    @property
    def condition(self) -> str:
        """The name of its condition."""

    @property
    def variant(self) -> str:
        """The name of its variant."""

    @property
    def family(self) -> str:
        """The name of its variant without the number of a draw."""

    @property
    def origin(self) -> str:
        """The name of its variant in the sweep file."""

    @property
    def draw(self) -> int | None:
        """The number of the draw of its settings."""

    @property
    def recipe(self) -> Recipe:
        """Its recipe."""


T = TypeVar("T", bound=Run)


def read_exclusions(given: Iterable[Settings], checker: Checker) -> list[Exclusion]:
    """Return what a sweep file excludes.

    Raises:
        ConfigError: If an item names no key that distinguishes runs.
    """
    return [_read_exclusion(one, f"exclude.{place}", checker) for place, one in enumerate(given)]


def _read_exclusion(given: Settings, at: str, checker: Checker) -> Exclusion:
    if not given:
        raise checker.error(at, f"`{at}` is empty, so that it would exclude all runs; name a variant, for instance.")
    found: dict[str, Sequence[object]] = {}
    for key, value in given.items():
        kind = type_of(key)
        if key not in FIELDS and kind is None:
            sentence = unknown(key, f"in `{at}`", [*FIELDS, *known()], "key")
            raise checker.error(f"{at}.{key}", sentence[:1].lower() + sentence[1:])
        # A list names several values, unless that is what the key's own value is.
        is_list = kind is not None and any(get_origin(one) is list for one in members(kind))
        found[key] = value if isinstance(value, list) and not is_list else [value]
    return found


def fits(facts: Mapping[str, Sequence[object]], exclusion: Exclusion) -> bool:
    """Return whether all that an exclusion says holds for a run.

    Args:
        facts: What is known of the run, by key; names may be several.
        exclusion: What it says; what is not among the facts does not hold.
    """
    return all(any(value in facts.get(key, ()) for value in values) for key, values in exclusion.items())


def only(jobs: Sequence[T], patterns: Sequence[str]) -> list[T]:
    """Return the runs that patterns choose.

    A pattern is `variant=HAM*`, `condition=clean`, `held_out=sketch`, `seed=0` or `draw=3`, or such a name alone;
    several of one kind are alternatives, and each kind has to fit.

    Raises:
        ConfigError: If a pattern fits no run.
    """
    chosen: dict[str, list[str]] = {}
    for pattern in patterns:
        field, text = _kind_of(pattern, jobs)
        chosen.setdefault(field, []).append(text)
    found = [
        job
        for job in jobs
        if all(
            any(_matches(name, text) for text in texts for name in _names(job, kind)) for kind, texts in chosen.items()
        )
    ]
    if not found:
        raise ConfigError(f"`--only`: no run fits {' and '.join(f'`{one}`' for one in patterns)} at once; give fewer.")
    return found


def shard(jobs: Sequence[T], groups: Iterable[Sequence[int]], index: int, count: int) -> list[T]:
    """Return one of several parts of a sweep's runs, the same whenever it is asked for.

    Args:
        jobs: The runs.
        groups: The numbers of those that share their training; these stay together.
        index: Which part, from 1.
        count: How many parts there are.
    """
    numbers = {number for place, group in enumerate(groups) if place % count == index - 1 for number in group}
    return [job for number, job in enumerate(jobs) if number in numbers]


def read_shard(text: str) -> tuple[int, int]:
    """Return which part of how many `--shard=2/4` asks for.

    Raises:
        ConfigError: If it is not written so.
    """
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= 10_000:
        return int(index), int(count)
    raise ConfigError(
        f"`--shard`: expected which part of how many, such as `1/4` for the first of four, but got `{excerpt(text)}`."
    )


def _kind_of(pattern: str, jobs: Sequence[T]) -> tuple[str, str]:
    """Return what a pattern is about, and the pattern itself."""
    field, equals, text = pattern.partition("=")
    kinds = (field,) if equals and field in FIELDS else ("variant", "held_out", "condition")
    if len(kinds) > 1:
        text = pattern
    for kind in kinds:
        if any(_matches(name, text) for job in jobs for name in _names(job, kind)):
            return kind, text
    names = list(dict.fromkeys(name for kind in kinds for job in jobs for name in _names(job, kind)))
    hint = did_you_mean(text, names, f"there are {listed(names, 12)}.")
    raise ConfigError(f"`--only`: no run of the sweep fits `{excerpt(pattern)}`; {hint}")


def _names(job: T, kind: str) -> list[str]:
    if kind == "variant":
        return list(dict.fromkeys((job.variant, job.family, job.origin)))
    value = {"condition": job.condition, "held_out": job.recipe.held_out, "seed": job.recipe.seed, "draw": job.draw}
    return [str(value[kind])]


def _matches(name: str, pattern: str) -> bool:
    # A name of the sweep may hold brackets, which mean something in a pattern.
    return name == pattern or fnmatchcase(name, pattern)
