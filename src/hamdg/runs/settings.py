"""A recipe's values as one flat mapping of dotted keys, so that runs can be compared key by key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache, lru_cache

import msgspec

from hamdg.config.algorithms import find
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.values import yaml_name

# Mappings that are a value themselves.
_WHOLE = ("data.mini.label_noise", "data.conflicts.noise", "data.conflicts.swap", "model.class_rows")
# Sections on how a run is made, followed and looked at.
_ASIDE = frozenset({"runtime", "controls", "tracking", "evaluate"})
# Where images lie and how they are kept.
_PLACES = frozenset(
    {
        *(f"data.{name}" for name in ("root", "hub", "revision", "lists", "cache", "decode_once")),
        *(f"data.columns.{name}" for name in ("image", "label", "domain")),
    }
)
# Larger floats are not all integers.
_EXACT = 1 << 53


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested values by dotted keys; a mapping that is itself a value (label noise by domain) stays whole."""
    found: dict[str, object] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in _WHOLE:
            found |= flat(value, f"{key}.")
        else:
            found[key] = value
    return found


def settings(config: Mapping[str, object], algorithm: str) -> Mapping[str, object]:
    """Return the sections of a recipe as a record keeps them, with today's defaults for keys that are younger than it.

    Runs that say the same in all sections get the same object, so that thousands of them are compared at once.

    Args:
        config: The recipe's keys and values.
        algorithm: Its algorithm.
    """
    sections = {name: value for name, value in config.items() if isinstance(value, dict) or name == "excluded"}
    return _settings(algorithm, msgspec.json.encode(sections))


@lru_cache(maxsize=10_000)
def _settings(algorithm: str, sections: bytes) -> Mapping[str, object]:
    return {**_defaults(algorithm)[0], **flat(msgspec.json.decode(sections))}


def is_aside(key: str) -> bool:
    """Return whether a key says where images lie, or how a run is made, followed and looked at: not what it is."""
    return key in _PLACES or key.partition(".")[0] in _ASIDE


def is_used(key: str, algorithm: str) -> bool:
    """Return whether a key is of a section that the algorithm's runs depend on, or of none."""
    section, _, inner = key.partition(".")
    sections = _defaults(algorithm)[1]
    return not inner or sections is None or section in sections


def text_of(value: object) -> str:
    """Return a value of a recipe as it is written."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
    if isinstance(value, list | tuple):
        return ", ".join(text_of(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text_of(one)}" for name, one in value.items())
    return yaml_name(value)


@cache
def _defaults(algorithm: str) -> tuple[dict[str, object], frozenset[str] | None]:
    """Return the default values, and the sections that define a run; `None` for algorithms that are not installed."""
    every, sections = asdict(Recipe()), None
    values = {name: value for name, value in every.items() if isinstance(value, dict) or name == "excluded"}
    del values["settings"]
    with suppress(ConfigError):
        own = find(algorithm)
        values[algorithm] = asdict(own())
        sections = frozenset({"data", "model", algorithm, *own.uses})
    return flat(values), sections
