"""Lists on the command line: `hamdg run RECIPE --seed 0,1,2 --held_out all` as a sweep that no file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hamdg.config.keys import algorithm_of, type_of
from hamdg.config.parsing import override_settings
from hamdg.config.recipe_file import read_unchecked
from hamdg.errors import ConfigError
from hamdg.sweeps.grid import shown
from hamdg.sweeps.sweep_file import ALL, Sweep, Variant
from hamdg.text import excerpt
from hamdg.values import choices, convert, members

# Keys whose texts are names, which have no commas. Those of other texts (paths, labels) may have some.
_NAMES = ("held_out", "benchmark", "algorithm", "model.name", "merge.method")
# What options of merge methods take beside numbers are names, too.
_OPTIONS = "merge.options."


def lists_in(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of keys that are given several, or all held-out domains, by their keys.

    Values are separated by commas where a key takes a number, a switch, one of a few words or a name. What begins with
    a bracket is one value: a list, or a mapping.

    Args:
        overrides: `--key=value` arguments.

    Raises:
        ConfigError: If a value is missing or stands there twice.
    """
    found: dict[str, list[str]] = {}
    for override in overrides:
        name, _, text = override.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        values = _values(key, text)
        if len(values) > 1 or (key, text) == ("held_out", ALL):
            found[key] = [value.strip() for value in values]
        else:
            found.pop(key, None)  # the last one wins
    for key, values in found.items():
        if "" in values:
            raise ConfigError(f"`--{key}={excerpt(','.join(values))}` lacks a value beside a comma; correct it.")
    return found


def sweep_of(file: Path, overrides: Sequence[str], lists: dict[str, list[str]]) -> Sweep:
    """Return the runs that a recipe and overrides with lists of values ask for, as a sweep.

    Args:
        file: The recipe.
        overrides: `--key=value` arguments.
        lists: What `lists_in` finds in them.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type or stands there twice.
    """
    single = [one for one in overrides if one.partition("=")[0].removeprefix("--").replace("-", "_") not in lists]
    recipe = read_unchecked(file, single)
    typed = {key: [_typed(file, single, key, text) for text in values] for key, values in lists.items()}
    for key, values in typed.items():
        names = [shown(value) for value in values]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"`--{key}` holds `{name}` twice; every run is made once, so keep one.")
    settings = {one.key: one.value for one in override_settings(single)}
    held_out, seeds = typed.pop("held_out", [recipe.held_out]), typed.pop("seed", [recipe.seed])
    for key in ("held_out", "seed", "runtime.root"):
        settings.pop(key, None)
    # Alone, it is the very run that the recipe makes without lists, which has the recipe's own label.
    settings["label"] = recipe.label or (file.stem if typed else "")
    return Sweep(
        held_out=[str(name) for name in held_out],
        seeds=[int(str(seed)) for seed in seeds],
        variants={recipe.label or file.stem: Variant(str(file.absolute()), settings)},
        grid=typed,
        root=recipe.runtime.root,
    )


def _values(key: str, text: str) -> list[str]:
    kind = type_of(key)
    kinds = members(kind)
    is_number = any(one in (int, float, bool) for one in kinds) and (str not in kinds or key.startswith(_OPTIONS))
    splits = key in _NAMES or bool(choices(kind)) or is_number
    return text.split(",") if splits and not text.startswith(("[", "{")) else [text]


def _typed(file: Path, others: Sequence[str], key: str, text: str) -> object:
    """Return one of several values in its key's type; what is wrong with it is said as of a single one."""
    own, owner = f"--{key}={text}", algorithm_of(key)
    read_unchecked(file, [*others, *([f"--algorithm={owner}"] if owner is not None else []), own])
    (setting,) = override_settings([own])
    return convert(setting.value, type_of(key), key)
