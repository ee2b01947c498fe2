"""One reading of types: what fits, what is converted, and what messages call it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import pytest

from hamdg.values import Filled, MismatchError, Range, Words, check, choices, convert, describe, members

Share = Annotated[float, Range(0, 1, below=True)]


class Bars(TypedDict):
    kind: Literal["bars"]
    heights: list[float]


class Lines(TypedDict):
    kind: Literal["lines"]
    title: str


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "an integer"),
        (Annotated[int, Range(1)], "an integer of at least 1"),
        (Annotated[int, Range(1, 1_000_000)], "an integer between 1 and 1,000,000"),
        (Annotated[float, Range(0, above=True)], "a number above 0"),
        (Annotated[float, Range(0, 1, above=True, below=True)], "a number above 0 and below 1"),
        (Annotated[float, Range(0, 0.1, above=True)], "a number above 0 and at most 0.1"),
        (Annotated[float, Range(high=1)], "a number of at most 1"),
        (Annotated[float, Range()], "a number"),
        (Share | None, "a number of at least 0 and below 1 or `null`"),
        (Annotated[float | None, Range(0, 1)], "a number between 0 and 1 or `null`"),
        (Literal["a", "b"], "one of `a`, `b`"),
        (list[str], "a list of strings"),
        (list[str | int], "a list of strings or integers"),
        (dict[str, Share], "a mapping of names to numbers of at least 0 and below 1"),
        (dict[str, list[float]], "a mapping of names to lists of numbers"),
        (float | bool | None, "a number, `true` or `false` or `null`"),
        (Bars | Lines, "a mapping"),
        (Annotated[list[str], Words("a list of names")] | None, "a list of names or `null`"),
        (Annotated[str, Filled()], "a string that is not empty"),
    ],
)
def test_types_in_words(kind: object, words: str) -> None:
    assert describe(kind) == words


def test_pythons_words() -> None:
    assert describe(bool | None, python=True) == "`True` or `False` or `None`"


@pytest.mark.parametrize("number", [0.0, 0.5, 0.999])
def test_numbers_in_a_range(number: float) -> None:
    assert number in Range(0, 1, below=True)


@pytest.mark.parametrize("number", [-0.001, 1.0, math.nan, math.inf, 10**400])
def test_numbers_out_of_a_range(number: float) -> None:
    assert number not in Range(0, 1, below=True)
    assert math.inf not in Range()


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (1, float, 1.0),
        (2.0, int, 2),
        ("Off", bool, False),
        (Path("a/b"), str, "a/b"),
        (("a", 1), list[str | int], ["a", 1]),
        (1, float | int | None, 1),
        (1, float | None, 1.0),
        ({"a": 0}, Share | dict[str, Share], {"a": 0.0}),
        ("x", Literal["x"] | None, "x"),
        (None, Share | None, None),
    ],
)
def test_what_people_write_is_converted(value: object, kind: object, found: object) -> None:
    converted = convert(value, kind)
    assert (converted, type(converted)) == (found, type(found))


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (True, float, "expected it to be a number, but got `true`"),
        (1, bool, "expected it to be `true` or `false`, but got `1`"),
        (0, str, "expected it to be a string, but got `0`"),
        (2.5, int, "expected it to be an integer, but got `2.5`"),
        (2.0**60, int, "expected it to be an integer, but got `1.152921504606847e+18`"),
        (None, int, "expected it to be an integer, but got `null`"),
        (1, Share, "expected it to be a number of at least 0 and below 1, but got `1`"),
        ({"a": 0, "b": 1}, Share | dict[str, Share], "expected `b` to be a number of at least 0 and below 1, but got"),
        (["a", None], list[str], "expected `1` to be a string, but got `null`"),
        ("", Annotated[str, Filled()], 'expected it to be a string that is not empty, but got `""`'),
        (3, Annotated[list[str], Words("names")] | None, "expected it to be names or `null`, but got `3`"),
        ({"kind": "pie"}, Bars | Lines, 'expected `kind` to be one of `bars`, `lines`, but got `"pie"`'),
        ({"kind": []}, Bars | Lines, "expected `kind` to be one of `bars`, `lines`, but got `[]`"),
        ({"kind": {"a": 1}}, Bars | Lines, "expected `kind` to be one of `bars`, `lines`, but got `{'a': 1}`"),
        ({"kind": "bars"}, Bars | Lines, "`heights` is missing"),
        ({"kind": "bars", "heights": [1, "2"]}, Bars | Lines, 'expected `heights.1` to be a number, but got `"2"`'),
    ],
)
def test_what_does_not_fit_is_named(value: object, kind: object, said: str) -> None:
    with pytest.raises(MismatchError) as caught:
        convert(value, kind)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("value", "kind"), [(2.0, int), ("yes", bool), (Path("a"), str), (("a",), list[str])])
def test_values_of_programs_are_not_converted(value: object, kind: object) -> None:
    convert(value, kind)
    with pytest.raises(MismatchError):
        check(value, kind)


def test_an_integer_counts_as_a_number() -> None:
    check(3, float)
    check({"kind": "bars", "heights": [1], "further": "keys"}, Bars | Lines)


def test_members_and_choices() -> None:
    assert members(Annotated[Share | None, Words("x")]) == (float, type(None))
    assert choices(Literal["a", "b"] | None) == ("a", "b")
    assert choices(str | None) == ()
