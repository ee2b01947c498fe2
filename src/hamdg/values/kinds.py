"""Types that say more than Python's: ranges, words for messages; and what they are called in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

_WORDS: Mapping[object, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("`true` or `false`", "`true` or `false`"),
    NoneType: ("`null`", "`null`"),
    object: ("anything", "values"),
}
_PYTHON = {"`true` or `false`": "`True` or `False`", "`null`": "`None`"}


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


class Grid:
    """Which values of a number a search tries, as part of its type: `density: Annotated[float, Grid(0.1, 0.2)]`.

    Args:
        values: The values, from the smallest to the largest.
    """

    def __init__(self, *values: float) -> None:
        self.values = values


@dataclass(frozen=True)
class FactorOfSum:
    """Marks a number, as part of its type, as the factor of a sum over sources, which grows with their number.

    A search that leaves sources out multiplies it, so that fewer sources move the merge as far as all of them do.

    Args:
        option: Another option on which it depends whether there is a sum; none if there always is one.
        value: The value of that option.
        none: What `None` stands for then.
    """

    option: str = ""
    value: str = ""
    none: float = 1.0


@dataclass(frozen=True)
class Words:
    """What messages call a type, as part of it: `Annotated[str, Words("the path of a recipe")]`.

    Args:
        text: The words, with their article.
        plural: The words for several values, where they are others.
    """

    text: str
    plural: str = ""


class Filled:
    """Part of the type of a string, list or mapping that must not be empty."""


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
    inner = get_args(base) if is_union(base) else (base,)
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


@cache  # annotations that are texts take long to read, and a record holds many objects of one kind
def hints_of(kind: Any) -> Mapping[str, Any]:
    """Return the types of the keys of a `TypedDict`."""
    return get_type_hints(kind, include_extras=True)


@cache
def required_keys(kind: Any) -> frozenset[str]:
    """Return the keys that an object described by a `TypedDict` must have."""
    hints = hints_of(kind)
    # Annotations that are texts hide from Python which keys may be missing.
    return frozenset(name for name in kind.__required_keys__ if get_origin(hints[name]) is not NotRequired)


def is_union(kind: object) -> bool:
    """Return whether a type is a union, which is not annotated itself."""
    return get_origin(kind) in (Union, UnionType)


def _words(kind: object, limits: str, several: bool) -> str:
    base, extras = plain(kind)
    for extra in extras:
        if isinstance(extra, Words):
            return (several and extra.plural) or extra.text
    limits = "".join(f" {extra}" for extra in extras if isinstance(extra, Range) and str(extra)) or limits
    origin, arguments = get_origin(base), get_args(base)
    if base in _WORDS:
        words = _WORDS[base][several]
        words += limits if base in (int, float) else ""
    elif is_union(base):
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


def _number(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
