"""Reads, checks and writes recipes; whatever is wrong becomes one sentence with the key, its place and the fix."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType

import yaml

from hamdg.checks import problems
from hamdg.config import Recipe
from hamdg.data.registry import benchmark
from hamdg.errors import ConfigError
from hamdg.files import write_text

if typing.TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_NAMES: dict[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "`true` or `false`",
    str: "a text",
    NoneType: "`null`",
}


@dataclass(frozen=True)
class _Setting:
    """One value that a user wrote, and where."""

    key: str
    value: object
    place: str


def read_recipe(path: Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, apply command-line overrides to it, and check the result.

    Args:
        path: The YAML file; `None` for the defaults.
        overrides: `--key.sub=value` or `--key.sub`, `value`; the last one wins.

    Returns:
        The recipe, with the held-out domain's canonical name.

    Raises:
        ConfigError: If the file or an override is wrong in any way.
    """
    recipe, places = Recipe(), {}
    settings = [*(_file_settings(path) if path is not None else ()), *_override_settings(overrides)]
    for setting in settings:
        recipe = _with(recipe, setting.key.split("."), _typed(setting))
        places[setting.key] = setting.place
    for key, sentence in problems(recipe):
        raise ConfigError(_located(sentence, places.get(key, "")))
    return replace(recipe, held_out=benchmark(recipe.benchmark).domain(recipe.held_out))


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
        if key not in _types():
            raise ConfigError(_unknown(name, "", [f"--{known}" for known in _known()] + list(options), "option or key"))
        if not equals:
            argument = f"{name}={_following(name, rest)}"
        overrides.append(argument)
    return overrides, others


def _following(name: str, rest: list[str]) -> str:
    """Take the value of `--key value`; a switch (`--runtime.quiet`) may stand alone."""
    if _types()[_key(name)] is bool and (not rest or rest[0].lower() not in ("true", "false")):
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
        kind, value = _types()[_key(name)], typing.cast("object", text)
        if is_dataclass(kind):
            value = _parse_yaml(text, "the command line")
        elif text == "null" and NoneType in typing.get_args(kind):
            value = None
        yield from _leaves(_key(name), value, lambda _: "on the command line")


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
    kind = Recipe if key == "" else _types().get(key)
    if kind is None:
        raise ConfigError(_unknown(key, where(key), _known(), "key"))
    if not is_dataclass(kind):
        yield _Setting(key, value, where(key))
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), child, where)
    elif value is not None:
        inside = ", ".join(f"`{field.name}`" for field in fields(kind))
        sentence = f"Expected `{key}` to be a section with keys out of {inside}, but got `{value}`"
        raise ConfigError(_located(sentence, where(key)))


def _unknown(key: str, place: str, known: Sequence[str], what: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:  # A right name in the wrong section is worth finding, too.
        near = [name for name in known if name.rpartition(".")[2] == key.removeprefix("--").rpartition(".")[2]][:1]
    hint = f"did you mean `{near[0]}`?" if near else "the keys are those of `hamdg.config.Recipe`."
    return f"There is no {what} `{key}`{' ' + place if place else ''}; {hint}"


def _typed(setting: _Setting) -> object:
    """Return the setting's value in the type that the recipe wants."""
    from jsonargparse import ArgumentError

    kind, value = _types()[setting.key], setting.value
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


def _mistyped(setting: _Setting) -> str:
    kind, got = _types()[setting.key], _shown(setting.value)
    near = difflib.get_close_matches(got, _choices(kind), n=1)
    sentence = _located(f"Expected `{setting.key}` to be {_description(kind)}, but got `{got}`", setting.place)
    return f"{sentence} Did you mean `{near[0]}`?" if near else sentence


@cache
def _parser() -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    return parser


@cache
def _types() -> Mapping[str, object]:
    """Return the type of every dotted key; a section's type is its dataclass."""
    return dict(_walk(Recipe, ""))


def _walk(kind: type, prefix: str) -> Iterator[tuple[str, object]]:
    for name, hint in typing.get_type_hints(kind).items():
        yield f"{prefix}{name}", hint
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _walk(hint, f"{prefix}{name}.")


@cache
def _known() -> tuple[str, ...]:
    return tuple(key for key, kind in _types().items() if not is_dataclass(kind))


def _choices(kind: object) -> list[str]:
    return [str(choice) for choice in typing.get_args(kind)] if typing.get_origin(kind) is typing.Literal else []


def _description(kind: object) -> str:
    """Return a type in words: "an integer", "one of `a`, `b`"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (UnionType, typing.Union):
        return " or ".join(_description(argument) for argument in arguments)
    if origin is list:
        return 'a list of texts, such as `["a photo of a {}."]`'
    if origin is dict:
        return "a mapping of names to numbers"
    return _NAMES.get(kind, str(kind))


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else f"`{_shown(value)}`"


def _shown(value: object) -> str:
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | NoneType) else None
    return text or str(value)


def _located(sentence: str, place: str) -> str:
    stop = "" if sentence.endswith("?") and not place else "."
    return f"{sentence} ({place}){stop}" if place else f"{sentence}{stop}"


def _with(section: object, path: Sequence[str], value: object) -> typing.Any:
    """Return a copy of a dataclass in which the field at `path` has `value`."""
    name, *deeper = path
    inner = _with(getattr(section, name), deeper, value) if deeper else value
    return replace(typing.cast("typing.Any", section), **{name: inner})
