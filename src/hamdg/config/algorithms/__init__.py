"""The algorithms that a recipe can name, and the settings that only one of them has; nothing here imports torch."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import import_module
from typing import ClassVar, TypeGuard

from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, excerpt, listed

# A package that brings algorithms names the settings of each under this group: `mine = "package.module:MineSettings"`.
ENTRY_POINTS = "hamdg.algorithms"


@dataclass(frozen=True)
class AlgorithmSettings:
    """What an algorithm reads beyond the sections that all recipes share; each algorithm has a subclass of its own.

    A recipe's section of these settings has the algorithm's name, which is the name of the module here, or of the
    entry point elsewhere.
    """

    # Where the algorithm's class is, as `package.module:Class`; imported when a run starts.
    code: ClassVar[str]
    # The shared sections that it reads beside `data`, `model` and `runtime`; what is in others defines no run of it.
    uses: ClassVar[tuple[str, ...]]
    # Whether it reads how prompts call the classes (`data.words`) even where the model that is trained has no text.
    uses_words: ClassVar[bool] = False
    # Whether training needs no images beside what a network's frozen layers give for them (`data.views`).
    takes_activations: ClassVar[bool] = False
    # Keys that only what follows training reads: runs that differ in them alone train once.
    after_training: ClassVar[tuple[str, ...]] = ()
    # Keys that came later, dotted, with what runs from before them have: with these values they define no run.
    added: ClassVar[Mapping[str, object]] = {}


def names() -> tuple[str, ...]:
    """Return the names of all algorithms, sorted: those of hamdg and of installed packages."""
    return tuple(sorted({*_own_names(), *_installed(tuple(sys.path))}))


def find(name: str) -> type[AlgorithmSettings]:
    """Return the settings of the algorithm of this name.

    Raises:
        ConfigError: If there is none (the message names the nearest), or its package cannot be loaded.
    """
    if name in _own_names():
        return _defined_in(name)
    if name not in names():
        hint = did_you_mean(name, names(), f"there are {listed(names())}.")
        raise ConfigError(f"There is no algorithm `{excerpt(name)}`; {hint}")
    return _loaded(name)


@cache
def _own_names() -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


@cache
def _installed(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the algorithms that packages on Python's search path bring."""
    # Takes 50 ms to import, for what most commands do not need.
    from hamdg.plugins import plugins

    return tuple(plugins(ENTRY_POINTS))


@cache
def _defined_in(name: str) -> type[AlgorithmSettings]:
    module = import_module(f"{__name__}.{name}")
    own = [one for one in vars(module).values() if _is_settings(one) and one.__module__ == module.__name__]
    assert len(own) == 1, f"`{module.__name__}` must define one subclass of `AlgorithmSettings`, not {len(own)}"
    return own[0]


def _loaded(name: str) -> type[AlgorithmSettings]:
    from hamdg.plugins import load_plugin

    settings = load_plugin(ENTRY_POINTS, name, "algorithm")
    if not _is_settings(settings):
        raise ConfigError(
            f"The entry point `{name}` of `{ENTRY_POINTS}` is not a dataclass that derives from `AlgorithmSettings` "
            "and has `code` and `uses`; repair or remove its package."
        )
    if missing := [one.name for one in fields(settings) if one.init and one.default is one.default_factory is MISSING]:
        raise ConfigError(
            f"The settings `{settings.__name__}` of the entry point `{name}` of `{ENTRY_POINTS}` have no default for "
            f"{listed(missing)}; give every key one."
        )
    return settings


def _is_settings(value: object) -> TypeGuard[type[AlgorithmSettings]]:
    return (
        isinstance(value, type)
        and issubclass(value, AlgorithmSettings)
        # Its own, not those that it inherits.
        and "__dataclass_fields__" in vars(value)
        and hasattr(value, "code")
        and hasattr(value, "uses")
    )
