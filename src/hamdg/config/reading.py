"""Reads, checks and writes recipes; whatever is wrong becomes one sentence with the key, its place and the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hamdg.config.checks import problems
from hamdg.config.keys import known, value_at
from hamdg.config.parsing import (
    Setting,
    applied,
    changed,
    leaves,
    located,
    override_settings,
    settings_of,
)
from hamdg.config.recipe import Recipe
from hamdg.config.recipe_file import file_settings
from hamdg.config.yaml_files import dump_yaml
from hamdg.data.class_rows import with_own_rows
from hamdg.data.conflicts import with_own_names
from hamdg.data.resolve import with_own_domains, with_own_words
from hamdg.errors import ConfigError
from hamdg.files import write_text


def read_recipe(
    path: Path | None, overrides: Sequence[str] = (), changes: Sequence[tuple[str, object]] = (), place: str = ""
) -> Recipe:
    """Read a recipe file, apply command-line overrides to it, and check the result.

    What the file says of one algorithm or merge method is dropped where a change or an override names another: that
    one starts from its own defaults.

    Args:
        path: The YAML file; `None` for the defaults.
        overrides: `--key.sub=value` or `--key.sub`, `value`; the last one wins.
        changes: Dotted keys and values that take the place of the file's before the overrides do.
        place: Where the changes stand, for messages: "in `table.yaml`".

    Returns:
        The recipe, with the canonical names of domains, and the words of classes read from their file.

    Raises:
        ConfigError: If the file or an override is wrong in any way.
    """
    return read_given(file_settings(path) if path is not None else [], overrides, changes, place)


def read_given(
    given: Sequence[Setting],
    overrides: Sequence[str] = (),
    changes: Sequence[tuple[str, object]] = (),
    place: str = "",
) -> Recipe:
    """Return a recipe as `read_recipe` does, of a file that was read before.

    Args:
        given: What the file says.
        overrides: As of `read_recipe`.
        changes: As of `read_recipe`.
        place: Where the changes stand.

    Raises:
        ConfigError: If something is wrong in any way.
    """
    recipe = applied(Recipe(), given)
    given_here = [one for key, value in changes for one in leaves(key, value, lambda _: place)]
    own = [*given_here, *override_settings(overrides)]
    return _resolved(changed(recipe, own), {setting.key: setting.place for setting in [*given, *own]})


def checked(recipe: Recipe) -> Recipe:
    """Return a recipe made in Python as `read_recipe` would return it: types and values checked, names resolved.

    Raises:
        ConfigError: If something in it is wrong.
    """
    algorithm = settings_of(recipe.algorithm, "")
    if type(recipe.settings) is not algorithm:
        raise ConfigError(
            f"`settings` are `{type(recipe.settings).__name__}`, but the algorithm `{recipe.algorithm}` has "
            f"`{algorithm.__name__}`; give these, or leave `settings` out."
        )
    values = [Setting(key, value_at(recipe, key), "") for key in known(recipe.algorithm)]
    return _resolved(applied(Recipe(), values), {})


def _resolved(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    for key, sentence in problems(recipe):
        raise ConfigError(located(sentence, places.get(key, "")))
    return with_own_rows(with_own_names(with_own_domains(with_own_words(recipe))))


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the complete recipe as YAML; `read_recipe` gives an equal one back."""
    write_text(path, dump_yaml(values_of(recipe)))


def values_of(recipe: Recipe) -> dict[str, object]:
    """Return a recipe's keys and values as YAML has them: its algorithm's settings are called like the algorithm."""
    values = {recipe.algorithm if key == "settings" else key: value for key, value in asdict(recipe).items()}
    return {key: value for key, value in values.items() if value or key != recipe.algorithm}
