"""Reads, checks and writes recipes; whatever is wrong becomes one sentence with the key, its place and the fix."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType

import yaml

from hamdg.checks import problems
from hamdg.config import Recipe
from hamdg.data.chosen import benchmark_of
from hamdg.errors import ConfigError
from hamdg.files import write_text
from hamdg.keys import choices, description, is_open, known, scalar_type, type_of, types, unknown

if typing.TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# Numbers that YAML 1.1 takes for texts.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass(frozen=True)
class _Setting:
    """One value that a user wrote, and where."""

    key: str
    value: object
    place: str


def read_recipe(path: Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, apply command-line overrides to it, and check the result.

    An override that names another merge method drops the options that the file gives to its own.

    Args:
        path: The YAML file; `None` for the defaults.
        overrides: `--key.sub=value` or `--key.sub`, `value`; the last one wins.

    Returns:
        The recipe, with the held-out domain's canonical name.

    Raises:
        ConfigError: If the file or an override is wrong in any way.
    """
    given = list(_file_settings(path)) if path is not None else []
    recipe, own = _applied(Recipe(), given), list(_override_settings(overrides))
    if any(setting.key == "merge.method" and setting.value != recipe.merge.method for setting in own):
        # The file's options belong to the file's method.
        recipe = replace(recipe, merge=replace(recipe.merge, options={}))
    recipe = _applied(recipe, own)
    places = {setting.key: setting.place for setting in [*given, *own]}
    for key, sentence in problems(recipe):
        raise ConfigError(_located(sentence, places.get(key, "")))
    return replace(recipe, held_out=benchmark_of(recipe).domain(recipe.held_out))


def _applied(recipe: Recipe, settings: Sequence[_Setting]) -> Recipe:
    for setting in settings:
        recipe = _with(recipe, setting.key.split("."), _typed(setting))
    return recipe


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the complete recipe as YAML; `read_recipe` gives an equal one back."""
    write_text(path, yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True, width=120))


def split_overrides(arguments: Sequence[str], options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate `--key=value` overrides from a command's own arguments.

    Args:
        arguments: What follows the verb on the command line.
        options: The verb's own options, such as `--force`.

    Returns:
        The overrides, each as `--key=value`, and all other arguments.

    Raises:
        ConfigError: If an override has no value or its key is unknown.
    """
    overrides, others, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        if not name.startswith("--") or name in options:
            others.append(argument)
            continue
        key = _key(name)
        if type_of(key) is None:
            raise ConfigError(unknown(name, "", [f"--{other}" for other in known()] + list(options), "option or key"))
        if not equals:
            argument = f"{name}={_following(name, rest)}"
        overrides.append(argument)
    return overrides, others


def _following(name: str, rest: list[str]) -> str:
    """Take the value of `--key value`; a switch (`--runtime.quiet`) may stand alone."""
    if type_of(_key(name)) is bool and (not rest or rest[0].lower() not in ("true", "false")):
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
        key, value = _key(name), typing.cast("object", text)
        kind = type_of(key)
        if is_dataclass(kind) or is_open(kind) or (text and scalar_type(key)):
            value = _parse_yaml(text, "the command line")
        elif text == "null" and NoneType in typing.get_args(kind):
            value = None
        yield from _leaves(key, value, lambda _: "on the command line")


def _file_settings(path: Path) -> Iterator[_Setting]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(_missing(path)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"Recipe `{path}` is not a text file in UTF-8; give the path of a YAML file.") from None
    except OSError as error:
        raise ConfigError(f"Recipe `{path}` cannot be read: {error.strerror}.") from None
    value = _parse_yaml(text, f"`{path}`")
    if value is None:
        return
    if not isinstance(value, dict):
        raise ConfigError(f"Recipe `{path}` must be a mapping of keys to values, but it is {_kind(value)}.")
    lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader), path)
    yield from _leaves("", value, lambda key: f"in `{path}`" + (f", line {lines[key]}" if key in lines else ""))


def _missing(path: Path) -> str:
    others = [str(other) for other in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(path), others, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "recipes lie in `experiments/<benchmark>/<algorithm>.yaml`."
    return f"There is no recipe `{path}`; {hint}"


def _parse_yaml(text: str, place: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"Invalid YAML in {place}{line}: {problem}.") from None


def _lines(tree: yaml.Node | None, path: Path) -> dict[str, int]:
    """Return the line number of every dotted key; YAML itself would let the second of two equal keys win."""
    lines: dict[str, int] = {}
    for key, line in _marked_keys(tree, ""):
        if key in lines:
            raise ConfigError(
                f"`{key}` is given twice in `{path}`, in lines {lines[key]} and {line}; keep one of them."
            )
        lines[key] = line
    return lines


def _marked_keys(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            key = f"{prefix}{name.value}"
            yield key, name.start_mark.line + 1
            yield from _marked_keys(child, f"{key}.")


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
        sentence = f"Expected `{key}` to be a section with keys{inside}, but got `{value}`"
        raise ConfigError(_located(sentence, where(key)))


def _typed(setting: _Setting) -> object:
    """Return the setting's value in the type that the recipe wants."""
    from jsonargparse import ArgumentError

    kind, value = type_of(setting.key), setting.value
    if setting.key not in types():
        return _scalar(setting)
    kinds = (kind, *typing.get_args(kind))
    # jsonargparse takes `null` for "not given", and reads a quoted "null" as if it had no quotes.
    if value is None and NoneType in kinds:
        return None
    if isinstance(value, str) and str in kinds and typing.get_origin(kind) is not list:
        return value
    nested: object = value
    for name in reversed(setting.key.split(".")):
        nested = {name: nested}
    try:
        parsed = _parser().parse_object(nested, defaults=False)[setting.key]
    except ArgumentError:
        raise ConfigError(_mistyped(setting)) from None
    if parsed is None and NoneType not in kinds:
        raise ConfigError(_mistyped(setting))
    return parsed


def _scalar(setting: _Setting) -> object:
    """Return a value of an open section as it is: only who reads the section knows what it has to be."""
    value = setting.value
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if not isinstance(value, int | float | str | NoneType):
        expected = "a number, a text, `true`, `false` or `null`"
        raise ConfigError(
            _located(f"Expected `{setting.key}` to be {expected}, but got `{_shown(value)}`", setting.place)
        )
    return value


def _mistyped(setting: _Setting) -> str:
    kind, got = type_of(setting.key), _shown(setting.value)
    near = difflib.get_close_matches(got, choices(kind), n=1)
    sentence = _located(f"Expected `{setting.key}` to be {description(kind)}, but got `{got}`", setting.place)
    return f"{sentence} Did you mean `{near[0]}`?" if near else sentence


@cache
def _parser() -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    return parser


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else f"`{_shown(value)}`"


def _shown(value: object) -> str:
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | NoneType) else None
    return text or str(value)


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
