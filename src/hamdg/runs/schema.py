"""JSON files that a run wrote, checked against their types when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from hamdg.errors import RunDirectoryError
from hamdg.text import reason_of

T = TypeVar("T")

# Far more than any run writes; what is larger is no such file, and reading it would take the memory.
LARGEST = 1 << 28
REPEAT = "repeat the run with `--force`"
_LISTED = 40
_WORDS: Mapping[object, str] = {
    dict: "a JSON object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


class MismatchError(ValueError):
    """A value that is not of the type that it should have; says which one, by its key."""


def read(path: Path, kind: type[T], remedy: str = REPEAT) -> T:
    """Return what a JSON file of a run holds.

    Args:
        path: The file.
        kind: The `TypedDict` that describes it; keys that it does not have are passed on unchecked.
        remedy: What a message says is to be done.

    Raises:
        RunDirectoryError: The file is missing, cannot be read, is no JSON, or does not hold what it should.
    """
    try:
        value = load(path)
        conform(value, kind)
        return cast("T", value)
    except FileNotFoundError:
        reason = "is missing"
    except OSError as error:
        reason = f"cannot be read ({reason_of(error).lower()})"
    except ValueError as error:
        raise damaged(path, str(error), remedy) from error
    raise RunDirectoryError(f"`{path}` {reason}; {remedy}.")


def load(path: Path) -> object:
    """Return what a JSON file holds, whatever it is.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON, not even text, or larger or deeper than any that a run writes.
    """
    if path.stat().st_size > LARGEST:
        raise MismatchError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise MismatchError("it is nested too deeply") from error


def damaged(path: Path, what: str, remedy: str = REPEAT) -> RunDirectoryError:
    """Return the error for a file whose content is wrong."""
    return RunDirectoryError(f"`{path}` is damaged ({what}); {remedy}.")


def conform(value: object, kind: Any, key: str = "") -> None:
    """Check that a value from JSON is of a type.

    Args:
        value: The value.
        kind: A `TypedDict`, `list[...]`, `dict[str, ...]`, a union, a `Literal`, or a plain type; `object` takes all.
            Several `TypedDict`s of a union are told apart by their key `kind`.
        key: Where the value is, for the message.

    Raises:
        MismatchError: It is not.
    """
    if is_typeddict(kind):
        _check_keys(value, kind, key)
    elif kind is object:
        return
    elif get_origin(kind) in (Union, UnionType):
        _check_union(value, get_args(kind), key)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind) or isinstance(value, bool):
            raise MismatchError(_expected(key, " or ".join(f"`{choice}`" for choice in get_args(kind)), value))
    elif get_origin(kind) is list:
        _check_kind(value, list, key)
        for number, item in enumerate(cast("list[object]", value)):
            conform(item, get_args(kind)[0], _joined(key, str(number)))
    elif get_origin(kind) is dict:
        _check_kind(value, dict, key)
        for name, item in cast("dict[str, object]", value).items():
            conform(item, get_args(kind)[1], _joined(key, _shown(name)))
    else:
        _check_kind(value, kind, key)


def required_keys(kind: Any) -> frozenset[str]:
    """Return the keys that an object described by a `TypedDict` must have."""
    hints = get_type_hints(kind, include_extras=True)
    # Annotations that are texts hide from Python which keys may be missing.
    return frozenset(name for name in kind.__required_keys__ if get_origin(hints[name]) is not NotRequired)


def _check_keys(value: object, kind: Any, key: str) -> None:
    _check_kind(value, dict, key)
    mapping = cast("dict[str, object]", value)
    if missing := sorted(required_keys(kind) - mapping.keys()):
        raise MismatchError(f"`{_joined(key, missing[0])}` is missing")
    for name, hint in get_type_hints(kind).items():
        if name in mapping:
            conform(mapping[name], hint, _joined(key, name))


def _check_union(value: object, kinds: tuple[Any, ...], key: str) -> None:
    """Accept what is of one of several types; of these, at most one describes a list, and one an object if any."""
    plain = [kind for kind in kinds if kind in _WORDS]
    if any(_is_of(value, kind) for kind in plain):
        return
    others = [kind for kind in kinds if kind not in plain]
    if not others or not isinstance(value, dict | list):
        named = [_WORDS.get(kind, _WORDS[dict]) for kind in kinds]
        raise MismatchError(_expected(key, " or ".join(dict.fromkeys(named)), value))
    conform(value, _described(others, value, key) if len(others) > 1 else others[0], key)


def _described(kinds: list[Any], value: object, key: str) -> Any:
    """Return which of several `TypedDict`s describes a value, by its key `kind`."""
    _check_kind(value, dict, key)
    by_name = {name: kind for kind in kinds for name in get_args(get_type_hints(kind)["kind"])}
    name = cast("dict[str, object]", value).get("kind")
    if name not in by_name:
        choices = " or ".join(f"`{choice}`" for choice in by_name)
        raise MismatchError(_expected(_joined(key, "kind"), choices, name))
    return by_name[name]


def _check_kind(value: object, kind: Any, key: str) -> None:
    if not _is_of(value, kind):
        raise MismatchError(_expected(key, _WORDS[kind], value))


def _is_of(value: object, kind: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        # A whole number of Python may be too large for all that is done with numbers.
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 1000)
    return isinstance(value, kind)


def _expected(key: str, what: str, value: object) -> str:
    return f"expected {f'`{key}`' if key else 'it'} to be {what}, but got `{_cut(json.dumps(value, default=repr))}`"


def _shown(name: str) -> str:
    return _cut(json.dumps(name, ensure_ascii=False)[1:-1])


def _cut(text: str) -> str:
    return text if len(text) <= _LISTED else f"{text[:_LISTED]}..."


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
