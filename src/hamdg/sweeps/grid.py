"""Grids: keys with several values each, crossed, and what each combination is called."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import product

from hamdg.config.algorithms import find
from hamdg.config.keys import algorithm_of, shared
from hamdg.sweeps.checking import Checker
from hamdg.text import excerpt
from hamdg.values import yaml_name

Grid = Mapping[str, Sequence[object]]

# Sections that define the runs of all algorithms; others define those of algorithms that use them.
_ALWAYS = ("data", "model")


def typed_grid(grid: Grid, checker: Checker) -> dict[str, list[object]]:
    """Return a sweep file's grid with its values in their keys' types.

    Raises:
        ConfigError: If a key does not exist, a value is not of its type, or two of a key's values are one.
    """
    found: dict[str, list[object]] = {}
    for key, values in grid.items():
        kind, at = checker.key(key, "grid"), f"grid.{key}"
        if not values:
            raise checker.error(at, f"`{at}` is empty; give the values that `{key}` is to have.")
        found[key] = [checker.typed(value, kind, f"{at}.{place}") for place, value in enumerate(values)]
        checker.once([shown(value) for value in found[key]], at)
    return found


def defines(key: str, algorithm: str) -> bool:
    """Return whether the runs of an algorithm differ where a key of a recipe does."""
    section = key.partition(".")[0]
    if (owner := algorithm_of(key)) is not None:
        return owner == algorithm
    is_section = is_dataclass(shared().get(section))
    return not is_section or section in _ALWAYS or section in find(algorithm).uses


def size(grid: Grid) -> int:
    """Return how many combinations of its values a grid has; none is made."""
    return math.prod(map(len, grid.values()))


def points(grid: Grid, names: Mapping[str, str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every combination of a grid's values: what it adds to a variant's name, and its settings.

    Args:
        grid: Values by key; without any there is one combination, that of nothing.
        names: What each key is called in names of variants.
    """
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        yield named(settings, names), settings


def named(settings: Mapping[str, object], names: Mapping[str, str]) -> str:
    """Return what settings add to a variant's name: `, lr=0.001, keep=0.2`."""
    return "".join(f", {names[key]}={shown(value)}" for key, value in settings.items())


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return what each key is called beside the others: its last part, and as many before it as keep them apart."""
    return {key: _shortest(key, [other for other in keys if other != key]) for key in keys}


def shown(value: object) -> str:
    """Return a value as it stands in the name of a variant."""
    return excerpt(json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else yaml_name(value), 60)


def _shortest(key: str, others: Sequence[str]) -> str:
    parts = key.split(".")
    for count in range(1, len(parts)):
        short = ".".join(parts[-count:])
        if not any(f".{other}".endswith(f".{short}") for other in others):
            return short
    return key
