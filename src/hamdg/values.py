"""Types of values, for recipes, merge options, sweep files and JSON: checked, converted and described in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from hamdg.text import excerpt

_WORDS: Mapping[object, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("`true` or `false`", "`true` or `false`"),
    NoneType: ("`null`", "`null`"),
    object: ("anything", "values"),
}
_PYTHON = {"`true` or `false`": "`True` or `False`", "`null`": "`None`"}
# What YAML 1.1 reads as `true` and `false`.
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# Far above all that is done with numbers; larger integers of Python cannot become floats.
_LARGEST = 1 << 1000
_EXACT = 1 << 53


@dataclass(frozen=True)
class Range:
    """Which numbers a value can be, as part of its type: `density: Annotated[float, Range(0, 1)]`; none are infinite.

    Args:
        low: The smallest number.
        high: The largest one.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether a number is in the range."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under and abs(value) < math.inf

    def __str__(self) -> str:
        """Return the range in words, to follow "a number": "between 0 and 1", "above 0", "of at least 1"."""
        if self.low > -math.inf and self.high < math.inf and not (self.above or self.below):
            return f"between {_number(self.low)} and {_number(self.high)}"
        low = f"{'above' if self.above else 'of at least'} {_number(self.low)}" if self.low > -math.inf else ""
        high = f"{'below' if self.below else 'at most'} {_number(self.high)}" if self.high < math.inf else ""
        high = high if low or self.below else f"of {high}" if high else ""
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Words:
    """What messages call a type, as part of it: `Annotated[str, Words("the path of a recipe")]`.

    Args:
        text: The words, with their article.
    """

    text: str


class Filled:
    """Part of the type of a string, list or mapping that must not be empty."""


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
            `object` takes all. Several `TypedDict`s of a union are told apart by their key `kind`.
        key: Where the value is, for the message.

    Raises:
        MismatchError: It is not.
    """
    _read(value, kind, key, lenient=False)


def convert(value: object, kind: object, key: str = "") -> object:
    """Return a value that somebody wrote in the type that it should have.

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


def describe(kind: object, *, python: bool = False) -> str:
    """Return a type in words: "an integer between 1 and 9", "one of `a`, `b`".

    Args:
        kind: As for `check`.
        python: Whether to use Python's words for `true`, `false` and `null`.
    """
    words = _words(kind, "", several=False)
    for yaml, own in _PYTHON.items() if python else ():
        words = words.replace(yaml, own)
    return words


def choices(kind: object) -> tuple[str, ...]:
    """Return what a value of this type can be, if it is one of a few strings (or `None`)."""
    found = [get_args(one) for one in members(kind) if get_origin(one) is Literal]
    return tuple(str(choice) for one in found for choice in one)


def members(kind: object) -> tuple[object, ...]:
    """Return the types that a union allows, or the one type itself; without annotations."""
    base, _ = plain(kind)
    inner = get_args(base) if _is_union(base) else (base,)
    return tuple(plain(one)[0] for one in inner)


def plain(kind: object) -> tuple[object, tuple[object, ...]]:
    """Return a type without its annotations, and the annotations."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    base, *extras = get_args(kind)
    return base, tuple(extras)


def yaml_name(value: object) -> str:
    """Return a value as text, with YAML's names of what YAML has names for."""
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | NoneType) else str(value)


def required_keys(kind: Any) -> frozenset[str]:
    """Return the keys that an object described by a `TypedDict` must have."""
    hints = get_type_hints(kind, include_extras=True)
    # Annotations that are texts hide from Python which keys may be missing.
    return frozenset(name for name in kind.__required_keys__ if get_origin(hints[name]) is not NotRequired)


def _read(value: object, kind: Any, key: str, lenient: bool) -> object:
    base, extras = plain(kind)
    origin = get_origin(base)
    if extras:
        return _limited(value, base, extras, key, lenient)
    if base is object:
        return value
    if _is_union(base):
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
        raise _mismatch(found, whole, key)
    if any(isinstance(extra, Filled) for extra in extras) and not found:
        raise _mismatch(value, whole, key)
    return found


def _read_union(value: object, union: object, key: str, lenient: bool) -> object:
    kinds = get_args(union)
    # An integer is no float where both are allowed, nor is a number a text.
    exact = [kind for kind in kinds if plain(kind)[0] is type(value)]
    inner = [] if exact else [kind for kind in kinds if _describes_inside(kind, value)]
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


def _describes_inside(kind: object, value: object) -> bool:
    """Return whether a type says what is inside of a list or mapping such as this value is."""
    base, _ = plain(kind)
    origin = get_origin(base)
    if isinstance(value, Mapping):
        return is_typeddict(base) or origin in (dict, Mapping)
    return isinstance(value, list | tuple) and origin in (list, Sequence)


def _by_name(kinds: list[Any], value: object, key: str) -> object:
    """Return which of several `TypedDict`s describes a value, by its key `kind`."""
    by_name = {name: kind for kind in kinds for name in get_args(get_type_hints(kind)["kind"])}
    name = cast("Mapping[str, object]", value).get("kind")
    if name not in by_name:
        raise _mismatch(name, Literal[tuple(by_name)], f"{key}.kind" if key else "kind")
    return by_name[name]


def _read_keys(value: object, kind: Any, key: str, lenient: bool) -> object:
    if not isinstance(value, dict):
        raise _mismatch(value, kind, key)
    if missing := sorted(required_keys(kind) - value.keys()):
        where = _joined(key, missing[0])
        raise MismatchError(f"`{excerpt(where)}` is missing", where)
    hints = {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in value}
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
        if kind is bool and isinstance(value, str) and value.lower() in _SWITCHES:
            return _SWITCHES[value.lower()]
        if kind is str and isinstance(value, PurePath):
            return str(value)
        if kind is int and isinstance(number, float) and number.is_integer() and abs(number) < _EXACT:
            return int(number)
    raise _mismatch(value, kind, key)


def _words(kind: object, limits: str, several: bool) -> str:
    base, extras = plain(kind)
    for extra in extras:
        if isinstance(extra, Words):
            return extra.text
    limits = "".join(f" {extra}" for extra in extras if isinstance(extra, Range) and str(extra)) or limits
    origin, arguments = get_origin(base), get_args(base)
    if base in _WORDS:
        words = _WORDS[base][several]
        words += limits if base in (int, float) else ""
    elif _is_union(base):
        *others, last = dict.fromkeys(_words(one, limits, several) for one in arguments)
        words = f"{', '.join(others)} or {last}" if others else last
    elif origin is Literal:
        named = [f"`{choice}`" for choice in arguments]
        words = " or ".join(named) if several or len(named) == 1 else f"one of {', '.join(named)}"
    elif origin in (list, Sequence):
        words = f"{'lists' if several else 'a list'} of {_words(arguments[0], '', several=True)}"
    else:
        words = "mappings" if several else "a mapping"
        if origin in (dict, Mapping):
            words += f" of names to {_words(arguments[1], '', several=True)}"
    return words + (" that is not empty" if any(isinstance(extra, Filled) for extra in extras) else "")


def _mismatch(value: object, kind: object, key: str) -> MismatchError:
    expected = describe(kind)
    what = f"`{excerpt(key)}`" if key else "it"
    sentence = f"expected {what} to be {expected}, but got `{_shown(value)}`"
    return MismatchError(sentence, key, expected, value)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return excerpt(f'"{value}"', 60)
    return excerpt(yaml_name(value), 60)


def _number(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _is_union(kind: object) -> bool:
    return get_origin(kind) in (Union, UnionType)
