"""Reads, checks and writes recipes; whatever is wrong becomes one sentence with the key, its place and the fix."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType

from hamdg.config.algorithms import AlgorithmSettings, find
from hamdg.config.checks import problems
from hamdg.config.keys import (
    algorithm_of,
    is_open,
    known,
    own,
    parts_of,
    type_of,
    unknown,
    value_at,
)
from hamdg.config.recipe import Recipe
from hamdg.config.yaml_files import dump_yaml, parse_yaml, read_yaml
from hamdg.data.resolve import with_own_domains, with_own_words
from hamdg.errors import ConfigError
from hamdg.files import write_text
from hamdg.text import excerpt
from hamdg.values import MismatchError, choices, convert, members, yaml_name


@dataclass(frozen=True)
class _Setting:
    """One value that a user wrote, and where."""

    key: str
    value: object
    place: str


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
    given = list(_file_settings(path)) if path is not None else []
    recipe = _applied(Recipe(), given)
    changed = [one for key, value in changes for one in _leaves(key, value, lambda _: place)]
    own = [*changed, *_override_settings(overrides)]
    if any(setting.key == "merge.method" and setting.value != recipe.merge.method for setting in own):
        # The file's options belong to the file's method.
        recipe = replace(recipe, merge=replace(recipe.merge, options={}))
    return _resolved(_applied(recipe, own), {setting.key: setting.place for setting in [*given, *own]})


def checked(recipe: Recipe) -> Recipe:
    """Return a recipe made in Python as `read_recipe` would return it: types and values checked, names resolved.

    Raises:
        ConfigError: If something in it is wrong.
    """
    algorithm = _algorithm(recipe.algorithm, "")
    if type(recipe.settings) is not algorithm:
        raise ConfigError(
            f"`settings` are `{type(recipe.settings).__name__}`, but the algorithm `{recipe.algorithm}` has "
            f"`{algorithm.__name__}`; give these, or leave `settings` out."
        )
    values = [_Setting(key, value_at(recipe, key), "") for key in known(recipe.algorithm)]
    return _resolved(_applied(Recipe(), values), {})


def named_algorithm(path: Path, changes: Iterable[tuple[str, object]] = ()) -> str:
    """Return the algorithm that a recipe file names, after changes to it; nothing else in it is checked."""
    given = [*_file_settings(path), *(_Setting(key, value, "") for key, value in changes)]
    return next((str(one.value) for one in reversed(given) if one.key == "algorithm"), Recipe().algorithm)


def _resolved(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    for key, sentence in problems(recipe):
        raise ConfigError(_located(sentence, places.get(key, "")))
    return with_own_domains(with_own_words(recipe))


def read_unchecked(path: Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe as `read_recipe` does, but check types only: no images are looked for.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    recipe = _applied(Recipe(), list(_file_settings(path)) if path is not None else [])
    return overridden(recipe, overrides)


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with `--key=value` overrides applied; whether the values make sense together is not checked.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type.
    """
    return _applied(recipe, list(_override_settings(overrides)))


def _applied(recipe: Recipe, settings: Sequence[_Setting]) -> Recipe:
    """Return a recipe with settings applied in their order; the algorithm first, since it decides which keys there are.

    Raises:
        ConfigError: If a value has the wrong type, or a key belongs to another algorithm.
    """
    for setting in sorted(settings, key=lambda one: one.key != "algorithm"):
        if setting.key == "algorithm":
            recipe = _with_algorithm(recipe, setting)
            continue
        if (owner := algorithm_of(setting.key)) not in (None, recipe.algorithm):
            sentence = f"`{setting.key}` belongs to the algorithm `{owner}`, but `algorithm` is `{recipe.algorithm}`"
            raise ConfigError(_located(f"{sentence}; leave it out", setting.place))
        recipe = _with(recipe, parts_of(setting.key), _typed(setting))
    return recipe


def _with_algorithm(recipe: Recipe, setting: _Setting) -> Recipe:
    """Return a recipe with another algorithm at its defaults, or as it is where the algorithm is its own."""
    name = str(_typed(setting))
    return (
        recipe
        if name == recipe.algorithm
        else replace(recipe, algorithm=name, settings=_algorithm(name, setting.place)())
    )


def _algorithm(name: str, place: str) -> type[AlgorithmSettings]:
    try:
        own(name)
        return find(name)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(_located(f"`algorithm`: {text[:1].lower()}{text[1:]}".removesuffix("."), place)) from None


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the complete recipe as YAML; `read_recipe` gives an equal one back."""
    write_text(path, dump_yaml(values_of(recipe)))


def values_of(recipe: Recipe) -> dict[str, object]:
    """Return a recipe's keys and values as YAML has them: its algorithm's settings are called like the algorithm."""
    values = {recipe.algorithm if key == "settings" else key: value for key, value in asdict(recipe).items()}
    return {key: value for key, value in values.items() if value or key != recipe.algorithm}


def split_overrides(
    arguments: Sequence[str], options: Sequence[str], program: str = "hamdg run"
) -> tuple[list[str], list[str]]:
    """Separate `--key=value` overrides from a command's own arguments.

    Args:
        arguments: What follows the verb on the command line.
        options: The verb's own options, such as `--force`.
        program: The command whose help lists what there is.

    Returns:
        The overrides, each as `--key=value`, and all other arguments.

    Raises:
        ConfigError: If an override has no value or its key is unknown.
    """
    overrides, own, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        if not name.startswith("--") or name in options:
            own.append(argument)
            continue
        key = _key(name)
        if type_of(key) is None:
            others = [f"--{other}" for other in known()] + list(options)
            raise ConfigError(unknown(name, "", others, "option or key", f"see `{program} --help`."))
        if not equals:
            argument = f"{name}={_following(name, rest)}"
        overrides.append(argument)
    return overrides, own


def _following(name: str, rest: list[str]) -> str:
    """Take the value of `--key value`; a switch (`--runtime.quiet`) may stand alone."""
    if members(type_of(_key(name))) == (bool,) and (not rest or rest[0].lower() not in ("true", "false")):
        return "true"
    if not rest or rest[0].startswith("--"):
        raise ConfigError(f"`{name}` needs a value; write `{name}=VALUE`.")
    return rest.pop(0)


def _key(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _override_settings(overrides: Sequence[str]) -> Iterator[_Setting]:
    joined, others = split_overrides(overrides, ())
    if others:
        raise ConfigError(f"An override is written as `--key.sub=value`, but got `{others[0]}`.")
    for override in joined:
        name, _, text = override.partition("=")
        key = _key(name)
        yield from _leaves(key, _written(text, type_of(key)), lambda _: "on the command line")


def _written(text: str, kind: object) -> object:
    """Return what the text of an override means: itself where a text is wanted, else YAML."""
    kinds = members(kind)
    if text == "null" and NoneType in kinds:
        return None
    if text.startswith("{") and any(map(is_open, kinds)):
        return parse_yaml(text, "the command line").values
    if not text or (str in kinds and float not in kinds) or choices(kind):
        return text
    return parse_yaml(text, "the command line").values


def _file_settings(path: Path) -> Iterator[_Setting]:
    document = read_yaml(path, "recipe", "recipes lie in `experiments/<benchmark>/<algorithm>.yaml`.")
    value, lines = document.values, document.lines
    if value is None:
        return
    if not isinstance(value, dict):
        raise ConfigError(f"Recipe `{path}` must be a mapping of keys to values, but it is {_kind(value)}.")
    yield from _leaves("", value, lambda key: f"in `{path}`" + (f", line {lines[key]}" if key in lines else ""))


def _leaves(key: str, value: object, where: Callable[[str], str]) -> Iterator[_Setting]:
    """Yield the single settings of `value`, which may be a section of a recipe or a whole one."""
    kind = Recipe if key == "" else type_of(key)
    if kind is None:
        raise ConfigError(unknown(key, where(key), known(), "key"))
    if not is_dataclass(kind) and not is_open(kind):
        yield _Setting(key, value, where(key))
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), child, where)
    elif value is not None:
        inside = " out of " + ", ".join(f"`{field.name}`" for field in fields(kind)) if is_dataclass(kind) else ""
        sentence = f"Expected `{key}` to be a section with keys{inside}, but got `{_shown(value)}`"
        raise ConfigError(_located(sentence, where(key)))


def _typed(setting: _Setting) -> object:
    """Return the setting's value in the type that the recipe wants."""
    try:
        return convert(setting.value, type_of(setting.key), setting.key)
    except MismatchError as error:
        raise ConfigError(_mistyped(error, setting)) from None


def _mistyped(error: MismatchError, setting: _Setting) -> str:
    kind, got = type_of(setting.key), _shown(error.value)
    near = difflib.get_close_matches(got, choices(kind), n=1)
    # What looks like a number is one, although the key wants a text: domains may be called `100`.
    looks = str in members(kind) and isinstance(error.value, bool | int | float)
    quotes = "; put it in quotes" if looks else ""
    expected = f"Expected `{excerpt(error.key)}` to be {error.expected}, but got `{got}`{quotes}"
    sentence = _located(expected, setting.place)
    return f"{sentence} Did you mean `{near[0]}`?" if near else sentence


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else f"`{_shown(value)}`"


def _shown(value: object) -> str:
    return excerpt(yaml_name(value))


def _located(sentence: str, place: str) -> str:
    stop = "" if sentence.endswith("?") and not place else "."
    return f"{sentence} ({place}){stop}" if place else f"{sentence}{stop}"


def _with(section: object, path: Sequence[str], value: object) -> typing.Any:
    """Return a copy of a dataclass (or mapping) in which the field at `path` has `value`."""
    name, *deeper = path
    if isinstance(section, Mapping):
        return {**section, name: value}
    inner = _with(getattr(section, name), deeper, value) if deeper else value
    return replace(typing.cast("typing.Any", section), **{name: inner})
