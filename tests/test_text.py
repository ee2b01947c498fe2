from __future__ import annotations

import pytest

from hamdg.text import counted, did_you_mean, escaped, excerpt, listed, reason_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("größe 😀 a\u00a0b", "größe 😀 a\u00a0b"),
        ("\x1b[31m\x07\r\n\t", r"\x1b[31m\x07\r\n\t"),
        ("\x7f\x9b\u2028", r"\x7f\x9b\u2028"),
        ("\u202egnp\u2066", r"\u202egnp\u2066"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_one_is_singular() -> None:
    assert [counted(number, "run") for number in (0, 1, 2, 1_024)] == ["0 runs", "1 run", "2 runs", "1,024 runs"]


def test_some_characters_can_be_kept() -> None:
    assert escaped("a\nb\r", keep="\n") == "a\nb\\r"


def test_lists_escape_their_names_and_count_what_is_left_out() -> None:
    assert listed(["a", "b\n"]) == r"`a`, `b\n`"
    assert listed(["a", "b", "c"], 1) == "`a` and 2 more"


def test_long_values_are_cut() -> None:
    assert excerpt({"a": 1}) == "{'a': 1}"
    assert excerpt("x" * 100) == "x" * 100
    assert excerpt("x" * 1000) == f"{'x' * 80}... (1,000 characters)"
    assert excerpt("\x1b") == r"\x1b"


def test_the_name_most_like_an_unknown_one_is_suggested() -> None:
    assert did_you_mean("tise", ["ties", "dare"], "it can be `ties` or `dare`.") == "did you mean `ties`?"


def test_a_name_like_none_gets_the_other_ending() -> None:
    assert did_you_mean("xyz", ["ties", "dare"], "it can be `ties` or `dare`.") == "it can be `ties` or `dare`."


def test_errors_of_the_system_say_why_in_its_words_or_in_their_own() -> None:
    assert reason_of(PermissionError(13, "Permission denied", "/x")) == "Permission denied"
    assert reason_of(OSError("no such thing")) == "no such thing"
