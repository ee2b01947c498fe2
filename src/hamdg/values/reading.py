"""Values checked against their types, and converted to them; what does not fit is named by its key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, cast, get_args, get_origin, is_typeddict

from hamdg.text import excerpt
from hamdg.values.kinds import Filled, Range, describe, hints_of, is_union, plain, required_keys, yaml_name

_SCALARS = (int, float, str, bool, NoneType)
# What YAML 1.1 reads as `true` and `false`.
SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# Far above all that is done with numbers; larger integers of Python cannot become floats.
_LARGEST = 1 << 1000
_EXACT = 1 << 53


class MismatchError(ValueError):
    """A value that is not of the type that it should have.

    Args:
        sentence: What is wrong, without a full stop.
        key: Where the value is inside of what was checked, dotted; empty for the whole.
        expected: What it should be, in words; empty where it is missing.
        value: What it is.
    """

    def __init__(self, sentence: str, key: str = "", expected: str = "", value: object = None) -> None:
        super().__init__(sentence)
        self.key, self.expected, self.value = key, expected, value


def check(value: object, kind: object, key: str = "") -> None:
    """Check that a value is of a type; an integer counts as a number.

    Args:
        value: The value.
        kind: `int`, `float`, `str`, `bool`, `None`, a `Literal`, a list or mapping of such, a `TypedDict` (whose
            further keys are not checked), a union, each perhaps `Annotated` with `Range`, `Words` and `Filled`;
            `object` takes all. Several `TypedDict`s of a union are distinguished by their key `kind`.
        key: Where the value is, for the message.

    Raises:
        MismatchError: It is not.
    """
    _read(value, kind, key, lenient=False)


def convert(value: object, kind: object, key: str = "") -> object:
    """Return a written value in the type that it should have.

    Integers become floats, floats without a fraction integers, `yes` and `off` truth values, paths strings, and tuples
    lists.

    Args:
        value: What YAML says (a mapping, a list, a string, a number, a truth value or `None`), or a value from Python.
        kind: As for `check`.
        key: Where the value is, for the message.

    Raises:
        MismatchError: It cannot be of that type.
    """
    return _read(value, kind, key, lenient=True)


def _read(value: object, kind: Any, key: str, lenient: bool) -> object:
    if type(value) is kind:
        return value
    if kind in _SCALARS:
        return _read_scalar(value, kind, key, lenient)
    base, extras = plain(kind)
    origin = get_origin(base)
    if extras:
        return _limited(value, base, extras, key, lenient)
    if base is object:
        return value
    if is_union(base):
        return _read_union(value, base, key, lenient)
    if is_typeddict(base):
        return _read_keys(value, base, key, lenient)
    if origin in (list, Sequence):
        return _read_list(value, base, key, lenient)
    if origin in (dict, Mapping):
        return _read_mapping(value, base, key, lenient)
    if origin is Literal:
        if value not in get_args(base) or isinstance(value, bool):
            raise _mismatch(value, base, key)
        return value
    return _read_scalar(value, base, key, lenient)


def _limited(value: object, base: object, extras: tuple[object, ...], key: str, lenient: bool) -> object:
    """Return a value of an annotated type; what is wrong with the whole value is said in the annotations' words."""
    whole = Annotated[(base, *extras)]  # type: ignore[valid-type]
    try:
        found = _read(value, base, key, lenient)
    except MismatchError as error:
        raise (_mismatch(value, whole, key) if error.key == key else error) from None
    number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    if number is not None and any(number not in extra for extra in extras if isinstance(extra, Range)):
        # Of a number what was written, but `1000` for `1e3` where it counts something.
        raise _mismatch(number if isinstance(number, int) else value, whole, key)
    if any(isinstance(extra, Filled) for extra in extras) and not found:
        raise _mismatch(value, whole, key)
    return found


def _read_union(value: object, union: object, key: str, lenient: bool) -> object:
    kinds = get_args(union)
    # An integer is not a float where both are allowed, nor is a number a string.
    exact = _exact(union, cast("Hashable", type(value)))
    inner = [] if exact or type(value) in _SCALARS else [kind for kind in kinds if _describes_inside(kind, value)]
    if len(inner) > 1:
        inner = [_by_name(inner, value, key)]
    for kind in exact or inner:
        return _read(value, kind, key, lenient)
    for kind in kinds:
        try:
            return _read(value, kind, key, lenient)
        except MismatchError:
            continue
    raise _mismatch(value, union, key)


@cache  # a list of a file may have a million items
def _exact(union: object, of_value: object) -> tuple[object, ...]:
    """Return the member of a union that is just the type of a value, if there is one."""
    return tuple(kind for kind in get_args(union) if plain(kind)[0] is of_value)


def _describes_inside(kind: object, value: object) -> bool:
    """Return whether a type says what is inside of a list or mapping such as this value is."""
    base, _ = plain(kind)
    origin = get_origin(base)
    if isinstance(value, Mapping):
        return is_typeddict(base) or origin in (dict, Mapping)
    return isinstance(value, list | tuple) and origin in (list, Sequence)


def _by_name(kinds: list[Any], value: object, key: str) -> object:
    """Return which of several `TypedDict`s describes a value, by its key `kind`."""
    by_name = {name: kind for kind in kinds for name in get_args(hints_of(kind)["kind"])}
    name = cast("Mapping[str, object]", value).get("kind")
    if not isinstance(name, str) or name not in by_name:
        raise _mismatch(name, Literal[tuple(by_name)], f"{key}.kind" if key else "kind")
    return by_name[name]


def _read_keys(value: object, kind: Any, key: str, lenient: bool) -> object:
    if not isinstance(value, dict):
        raise _mismatch(value, kind, key)
    if missing := sorted(required_keys(kind) - value.keys()):
        where = _joined(key, missing[0])
        raise MismatchError(f"`{excerpt(where)}` is missing", where)
    hints = {name: hint for name, hint in hints_of(kind).items() if name in value}
    for name, hint in hints.items():
        inner = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        _read(value[name], inner, _joined(key, name), lenient)
    return value


def _read_list(value: object, kind: object, key: str, lenient: bool) -> object:
    if not isinstance(value, list | tuple if lenient else list):
        raise _mismatch(value, kind, key)
    (inner,) = get_args(kind)
    return [_read(item, inner, _joined(key, str(number)), lenient) for number, item in enumerate(value)]


def _read_mapping(value: object, kind: object, key: str, lenient: bool) -> object:
    if not isinstance(value, Mapping if lenient else dict):
        raise _mismatch(value, kind, key)
    _, inner = get_args(kind)
    return {name: _read(item, inner, _joined(key, str(name)), lenient) for name, item in value.items()}


def _read_scalar(value: object, kind: object, key: str, lenient: bool) -> object:
    if type(value) is kind or (kind is None and value is None):
        return value
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind is float and isinstance(number, int) and abs(number) < _LARGEST:
        return float(number) if lenient else number
    if lenient:
        if kind is bool and isinstance(value, str) and value.lower() in SWITCHES:
            return SWITCHES[value.lower()]
        if kind is str and isinstance(value, PurePath):
            return str(value)
        if kind is int and isinstance(number, float) and number.is_integer() and abs(number) < _EXACT:
            return int(number)
    raise _mismatch(value, kind, key)


def _mismatch(value: object, kind: object, key: str) -> MismatchError:
    expected = describe(kind)
    what = f"`{excerpt(key)}`" if key else "it"
    sentence = f"expected {what} to be {expected}, but got `{_shown(value)}`"
    return MismatchError(sentence, key, expected, value)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return excerpt(f'"{value}"', 60)
    return excerpt(yaml_name(value), 60)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
