"""Reads recipe files, each laid over the recipe that it is based on (`base`), if it names one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hamdg.config.keys import algorithm_of
from hamdg.config.parsing import Setting, applied, changed, leaves, located, override_settings, shown
from hamdg.config.recipe import Recipe
from hamdg.config.shipped import find_beside, public_name
from hamdg.config.yaml_files import Document, read_yaml
from hamdg.errors import ConfigError

BASE = "base"


def file_settings(path: Path) -> list[Setting]:
    """Return what a recipe file says, laid over what its base says.

    Raises:
        ConfigError: If it or its base cannot be read, is not a mapping, or is based on itself; or a key is unknown.
    """
    return _settings(path, ())


def base_of(path: Path) -> Path | None:
    """Return the file that a recipe is based on; `None` if it is based on none.

    Raises:
        ConfigError: If it cannot be read, or names a base that is not there.
    """
    values = _document(path).values
    return _base(path, values[BASE], "", [path]) if isinstance(values, dict) and BASE in values else None


def named_algorithm(path: Path, changes: Iterable[tuple[str, object]] = ()) -> str:
    """Return the algorithm that a recipe file names, after changes to it; nothing else in it is checked."""
    given = [*file_settings(path), *(Setting(key, value, "") for key, value in changes)]
    return str(_last(given, "algorithm"))


def read_unchecked(
    path: Path | None, overrides: Sequence[str] = (), changes: Sequence[tuple[str, object]] = (), place: str = ""
) -> Recipe:
    """Read a recipe as `read_recipe` does, but check types only: no images are looked for.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    recipe = applied(Recipe(), file_settings(path) if path is not None else [])
    given = [one for key, value in changes for one in leaves(key, value, lambda _: place)]
    return changed(recipe, [*given, *override_settings(overrides)])


def laid_over(below: Sequence[Setting], above: Sequence[Setting]) -> list[Setting]:
    """Return settings with others on top of them, key by key.

    As on the command line, what is said of one algorithm or merge method is dropped where another one is named above.
    """
    whole = [*below, *above]
    given = {one.key for one in above}
    if _last(whole, "algorithm") != _last(below, "algorithm"):
        below = [one for one in below if algorithm_of(one.key) is None]
    if _last(whole, "merge.method") != _last(below, "merge.method"):
        below = [one for one in below if not one.key.startswith("merge.options.")]
    return [*(one for one in below if one.key not in given), *above]


def _last(settings: Sequence[Setting], key: str) -> object:
    """Return the value that counts of `algorithm` or `merge.method`."""
    default = Recipe().algorithm if key == "algorithm" else Recipe().merge.method
    return next((one.value for one in reversed(settings) if one.key == key), default)


def _settings(path: Path, above: tuple[Path, ...]) -> list[Setting]:
    """Return what a file says; those `above` are based on it."""
    document = _document(path)
    value, lines = document.values, document.lines
    if value is None:
        return []
    if not isinstance(value, dict):
        raise ConfigError(f"Recipe `{path}` must be a mapping of keys to values, but it is {_kind(value)}.")
    if "variants" in value:
        name = public_name(path)
        raise ConfigError(f"`{name}` is a sweep file, not a recipe; make its runs with `hamdg sweep {name}`.")

    def where(key: str) -> str:
        return f"in `{path}`" + (f", line {lines[key]}" if key in lines else "")

    own = list(leaves("", {key: one for key, one in value.items() if key != BASE}, where))
    if BASE not in value:
        return own
    base = _base(path, value[BASE], where(BASE), (*above, path))
    return laid_over(_settings(base, (*above, path)), own)


def _document(path: Path) -> Document:
    return read_yaml(path, "recipe", "recipes lie in `experiments/<benchmark>/<algorithm>.yaml`.")


def _base(path: Path, name: object, place: str, above: Sequence[Path]) -> Path:
    """Return the file of a base.

    Raises:
        ConfigError: If there is none, or it is based on the file that names it; the message says where that stands.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(
            located(f"Expected `{BASE}` to be the path or the name of a recipe, but got `{shown(name)}`", place)
        )
    try:
        base = find_beside(path, name)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(located(f"`{BASE}`: {text[:1].lower()}{text[1:]}".removesuffix("."), place)) from None
    if any(base.samefile(one) for one in above):
        sentence = f"`{BASE}` leads back to `{public_name(base)}`; name a recipe that is not based on this one"
        raise ConfigError(located(sentence, place))
    return base


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else f"`{shown(value)}`"
