"""The dotted keys of a recipe: what they are, of which type, and what is said of those that do not exist."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache

from hamdg.config.algorithms import AlgorithmSettings, find, names
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, listed

# Sections and keys that are called otherwise now.
MOVED = {
    **{f"merge.{name}": f"merge.options.{name}" for name in ("keep", "scope", "criterion", "combine", "norm")},
    "enrichment": "ham.enrichment",
    "harmonization": "ham.harmonization",
    "harmonisation": "ham.harmonization",
    "model.normalisation": "model.normalization",
}


@cache
def shared() -> Mapping[str, object]:
    """Return the type of every dotted key that all recipes share; a section's type is its dataclass."""
    return {key: kind for key, kind in _walk(Recipe, "") if key != "settings"}


def own(algorithm: str) -> Mapping[str, object]:
    """Return the type of every dotted key that only an algorithm has, and that of its section.

    Raises:
        ConfigError: If there is no such algorithm, its package cannot be loaded, or it has the name of a shared key.
    """
    return _section(algorithm, find(algorithm))  # type: ignore[arg-type]  # mypy: no class of dataclasses is hashable


@cache
def _section(algorithm: str, settings: type[AlgorithmSettings]) -> Mapping[str, object]:
    if algorithm in shared():
        raise ConfigError(
            f"The algorithm `{algorithm}` (`{settings.__module__}`) has the name of a key that all recipes share; "
            "give it another one."
        )
    if unknown_sections := [name for name in settings.uses if not is_dataclass(shared().get(name))]:
        sections = [key for key, kind in shared().items() if "." not in key and is_dataclass(kind)]
        raise ConfigError(
            f"The algorithm `{algorithm}` (`{settings.__module__}`) uses the section `{unknown_sections[0]}`, which no "
            f"recipe has; {did_you_mean(unknown_sections[0], sections, f'there are {listed(sections)}.')}"
        )
    return {algorithm: settings, **dict(_walk(settings, f"{algorithm}."))}


def algorithm_of(key: str) -> str | None:
    """Return which algorithm's section a dotted key lies in, `None` for shared and for unknown keys."""
    first = key.partition(".")[0]
    return first if first not in shared() and first in names() else None


def type_of(key: str) -> object:
    """Return the type of a key, also of one in an open section (`merge.options.density`); `None` if there is none."""
    kinds = _beside(key)
    return kinds[key] if key in kinds else scalar_type(key)


def _beside(key: str) -> Mapping[str, object]:
    """Return the types of all keys that a key could be one of."""
    return own(algorithm) if (algorithm := algorithm_of(key)) else shared()


def scalar_type(key: str) -> object:
    """Return the type of the values of the open section that a key lies in; `None` if it lies in none."""
    section = _open_section(key)
    return typing.get_args(_beside(key)[section])[1] if section else None


def parts_of(key: str) -> list[str]:
    """Return the names of the attributes that lead to a key; a name in an open section may have dots of its own."""
    section = _open_section(key)
    parts = [*section.split("."), key.removeprefix(f"{section}.")] if section else key.split(".")
    return ["settings", *parts[1:]] if algorithm_of(key) else parts


def value_at(recipe: Recipe, key: str) -> object:
    """Return the value of a dotted key; `None` if it is one of an open section in which the recipe does not have it."""
    value: object = recipe
    for name in parts_of(key):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name)
    return value


def _open_section(key: str) -> str:
    kinds = _beside(key)
    if key in kinds:
        return ""
    found = (name for name, kind in kinds.items() if key.startswith(f"{name}.") and is_open(kind))
    return next((name for name in found if len(key) > len(name) + 1), "")


def is_open(kind: object) -> bool:
    """Return whether a type is that of an open section, whose keys are not known here."""
    return typing.get_origin(kind) is dict


def known(algorithm: str | None = None) -> tuple[str, ...]:
    """Return all keys that hold a value: those that all recipes share, and those of an algorithm, or of all."""
    found = dict(shared())
    for name in names() if algorithm is None else (algorithm,):
        # A broken package is reported where its algorithm is used, not where another key is misspelled.
        with suppress(ConfigError):
            found |= own(name)
    return tuple(key for key, kind in found.items() if not is_dataclass(kind))


def unknown(
    key: str,
    place: str,
    others: Sequence[str],
    what: str,
    otherwise: str = "the keys are listed by `hamdg run --help`.",
) -> str:
    """Return the sentence about a key that does not exist, with the nearest one that does.

    Args:
        key: What was written.
        place: Where.
        others: What could have been meant.
        what: What it is, such as "key".
        otherwise: The end of the sentence where no other is called nearly the same.
    """
    if moved := _moved(key.removeprefix("--")):
        dashes = "--" if key.startswith("--") else ""
        return f"There is no {what} `{key}`{' ' + place if place else ''} any more; write `{dashes}{moved}`."
    near = difflib.get_close_matches(key, others, n=1, cutoff=0.6)
    if not near:  # A right name in the wrong section is worth finding, too.
        near = [name for name in others if name.rpartition(".")[2] == key.removeprefix("--").rpartition(".")[2]][:1]
    hint = f"did you mean `{near[0]}`?" if near else otherwise
    return f"There is no {what} `{key}`{' ' + place if place else ''}; {hint}"


def _moved(key: str) -> str | None:
    """Return what a key is called that had another name once."""
    found = ((old, new) for old, new in MOVED.items() if key == old or key.startswith(f"{old}."))
    return next((new + key.removeprefix(old) for old, new in found), None)


def _walk(kind: type, prefix: str) -> Iterator[tuple[str, object]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in (field.name for field in fields(kind)):
        yield f"{prefix}{name}", (hint := hints[name])
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _walk(hint, f"{prefix}{name}.")
