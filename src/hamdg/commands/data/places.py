"""Which images the verbs below `hamdg data` are about: a benchmark's name, a folder, and a few keys of recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.errors import ConfigError
from hamdg.text import listed

if TYPE_CHECKING:
    from hamdg.data.locations import Location

MINI: Final = "mini"
_COLUMNS = ("image", "label", "domain")
_KEYS = (
    *("data.root", "data.hub", "data.revision", "data.cache", "data.lists", "data.truncated", "data.domains"),
    *(f"data.columns.{name}" for name in _COLUMNS),
)


def read_place(verb: str, name: str, root: str | None, overrides: Sequence[str]) -> tuple[Recipe, Location]:
    """Return a recipe that names the images, and where they are.

    Args:
        verb: The verb below `hamdg data`, for messages.
        name: The benchmark's name.
        root: The folder that was given, if one was.
        overrides: The keys of recipes that were given, as `--key=value`.

    Raises:
        ConfigError: If something in it is wrong.
        DataError: If there are no images.
    """
    if name == MINI:
        raise ConfigError(
            "`mini` is rendered on this machine, so there are no files to verify; look at it with "
            "`hamdg data sheet mini`."
        )
    from hamdg.data.resolve import place_of

    recipe = read_recipe_of(verb, name, root, overrides)
    return recipe, place_of(recipe)


def read_recipe_of(verb: str, name: str, root: str | None, overrides: Sequence[str]) -> Recipe:
    """Return a recipe that names the images; it holds out no domain that counts.

    Args:
        verb: The verb below `hamdg data`, for messages.
        name: The benchmark's name.
        root: The folder that was given, if one was.
        overrides: The keys of recipes that were given, as `--key=value`.

    Raises:
        ConfigError: If something in it is wrong.
    """
    from hamdg.config.checks import place_problems
    from hamdg.config.reading import overridden, read_recipe
    from hamdg.data.registry import benchmark

    given = [*overrides, *([f"--data.root={root}"] if root else [])]
    if name == MINI:
        return read_recipe(None, [f"--benchmark={MINI}", *given])
    if name != CUSTOM:
        benchmark(name)
    for override in given:
        key = override.removeprefix("--").partition("=")[0]
        if key not in _KEYS:
            raise ConfigError(
                f"`hamdg data {verb}` takes the recipe keys {listed(_KEYS)} here, but got `--{key}`; leave it out."
            )
    recipe = overridden(Recipe(benchmark=name), given)
    for problem in place_problems(recipe):
        raise ConfigError(f"{problem.sentence}.")
    return recipe
