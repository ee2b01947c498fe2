"""What users say of a recipe's keys, in files and on command lines, put into a recipe; keys and types are checked."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from types import NoneType

from hamdg.config.algorithms import AlgorithmSettings, find
from hamdg.config.keys import algorithm_of, is_open, known, own, parts_of, type_of, unknown
from hamdg.config.recipe import Recipe
from hamdg.config.yaml_files import parse_yaml
from hamdg.errors import ConfigError
from hamdg.text import excerpt
from hamdg.values import SWITCHES, MismatchError, choices, convert, members, yaml_name


@dataclass(frozen=True)
class Setting:
    """One value that a user wrote, and where."""

    key: str
    value: object
    place: str


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with `--key=value` overrides applied; whether the values make sense together is not checked.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type.
    """
    return changed(recipe, list(override_settings(overrides)))


def changed(recipe: Recipe, settings: Sequence[Setting]) -> Recipe:
    """Return a recipe with settings applied that may name another merge method, whose options are its own."""
    if any(setting.key == "merge.method" and setting.value != recipe.merge.method for setting in settings):
        recipe = replace(recipe, merge=replace(recipe.merge, options={}))
    return applied(recipe, settings)


def applied(recipe: Recipe, settings: Sequence[Setting]) -> Recipe:
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
            raise ConfigError(located(f"{sentence}; leave it out", setting.place))
        recipe = _with(recipe, parts_of(setting.key), _typed(setting))
    return recipe


def _with_algorithm(recipe: Recipe, setting: Setting) -> Recipe:
    """Return a recipe with another algorithm at its defaults, or as it is where the algorithm is its own."""
    name = str(_typed(setting))
    return (
        recipe
        if name == recipe.algorithm
        else replace(recipe, algorithm=name, settings=settings_of(name, setting.place)())
    )


def settings_of(name: str, place: str) -> type[AlgorithmSettings]:
    """Return the settings of the algorithm of this name.

    Raises:
        ConfigError: If there is none, or its package is broken; the message says where the name stands.
    """
    try:
        own(name)
        return find(name)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(located(f"`algorithm`: {text[:1].lower()}{text[1:]}".removesuffix("."), place)) from None


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
    if members(type_of(_key(name))) == (bool,) and (not rest or rest[0].lower() not in SWITCHES):
        return "true"
    if not rest or rest[0].startswith("--"):
        raise ConfigError(f"`{name}` needs a value; write `{name}=VALUE`.")
    return rest.pop(0)


def _key(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def override_settings(overrides: Sequence[str]) -> Iterator[Setting]:
    """Yield what overrides of the command line say.

    Raises:
        ConfigError: If a key is unknown, or a value is missing or no YAML.
    """
    joined, others = split_overrides(overrides, ())
    if others:
        raise ConfigError(f"An override is written as `--key.sub=value`, but got `{others[0]}`.")
    for override in joined:
        name, _, text = override.partition("=")
        key = _key(name)
        yield from leaves(key, written(text, type_of(key)), lambda _: "on the command line")


def written(text: str, kind: object) -> object:
    """Return what the text of an override means: itself where a text is wanted, else YAML."""
    kinds = members(kind)
    if text == "null" and NoneType in kinds:
        return None
    if text.startswith("{") and any(map(is_open, kinds)):
        return parse_yaml(text, "the command line").values
    if not text or (str in kinds and float not in kinds) or choices(kind):
        return text
    return parse_yaml(text, "the command line").values


def leaves(key: str, value: object, where: Callable[[str], str]) -> Iterator[Setting]:
    """Yield the single settings of `value`, which may be a section of a recipe or a whole one."""
    kind = Recipe if key == "" else type_of(key)
    if kind is None:
        raise ConfigError(unknown(key, where(key), known(), "key"))
    if not is_dataclass(kind) and not is_open(kind):
        yield Setting(key, value, where(key))
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from leaves(f"{key}.{name}" if key else str(name), child, where)
    elif value is not None:
        inside = " out of " + ", ".join(f"`{field.name}`" for field in fields(kind)) if is_dataclass(kind) else ""
        sentence = f"Expected `{key}` to be a section with keys{inside}, but got `{shown(value)}`"
        raise ConfigError(located(sentence, where(key)))


def _typed(setting: Setting) -> object:
    """Return the setting's value in the type that the recipe wants."""
    try:
        return convert(setting.value, type_of(setting.key), setting.key)
    except MismatchError as error:
        raise ConfigError(_mistyped(error, setting)) from None


def _mistyped(error: MismatchError, setting: Setting) -> str:
    kind, got = type_of(setting.key), shown(error.value)
    near = difflib.get_close_matches(got, choices(kind), n=1)
    # What looks like a number is one, although the key wants a text: domains may be called `100`.
    is_text = str in members(kind) and (error.key == setting.key or "string" in error.expected)
    looks = is_text and isinstance(error.value, bool | int | float)
    quotes = "; put it in quotes" if looks else ""
    expected = f"Expected `{excerpt(error.key)}` to be {error.expected}, but got `{got}`{quotes}"
    sentence = located(expected, setting.place)
    return f"{sentence} Did you mean `{near[0]}`?" if near else sentence


def shown(value: object) -> str:
    """Return a value for a sentence: as YAML, shortened."""
    return excerpt(yaml_name(value))


def located(sentence: str, place: str) -> str:
    """Return a sentence without its full stop as a whole one that says where the value stands, if that is known."""
    stop = "" if sentence.endswith("?") and not place else "."
    return f"{sentence} ({place}){stop}" if place else f"{sentence}{stop}"


def _with(section: object, path: Sequence[str], value: object) -> typing.Any:
    """Return a copy of a dataclass (or mapping) in which the field at `path` has `value`."""
    name, *deeper = path
    if isinstance(section, Mapping):
        return {**section, name: value}
    inner = _with(getattr(section, name), deeper, value) if deeper else value
    return replace(typing.cast("typing.Any", section), **{name: inner})
