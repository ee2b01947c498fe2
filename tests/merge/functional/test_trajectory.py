from __future__ import annotations

import re
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError
from hamdg.merge.functional.trajectory import Valley, in_order


def test_numbers_in_names_are_compared_as_numbers() -> None:
    assert in_order(("step-10", "step-2", "step-1")) == ("step-1", "step-2", "step-10")
    assert in_order(("epoch-2-step-10", "epoch-10-step-1", "epoch-2-step-9")) == (
        "epoch-2-step-9",
        "epoch-2-step-10",
        "epoch-10-step-1",
    )
    assert in_order(("100", "20", "3")) == ("3", "20", "100")


def test_names_without_numbers_are_in_alphabetical_order() -> None:
    assert in_order(("c", "a", "b")) == ("a", "b", "c")


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.from_regex(r"[a-z-]{0,2}[0-9]{1,3}[a-z]?", fullmatch=True), unique=True, max_size=8))
def test_the_order_given_does_not_matter(names: list[str]) -> None:
    ordered = in_order(tuple(names))
    assert sorted(ordered) == sorted(names)
    assert in_order(tuple(reversed(names))) == ordered


def test_equal_numbers_written_differently_have_an_order_too() -> None:
    assert in_order(("s1", "s01")) == in_order(("s01", "s1")) == ("s01", "s1")


def test_a_name_without_a_number_among_others() -> None:
    message = (
        "The checkpoints of a trajectory are taken in the order of the numbers in their names, but `best` has none "
        "while `step-10` has; name all of them by their step."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        in_order(("step-20", "last", "step-10", "best"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 6, 1.3), "Expected argument `n_s` to be at least 1, but got `0`."),
        ((3, 0, 1.3), "Expected argument `n_e` to be at least 1, but got `0`."),
        ((3, 6, 0.3), "Expected argument `r` to be at least 1, but got `0.3`."),
        ((3, 6, float("nan")), "Expected argument `r` to be at least 1, but got `nan`."),
    ],
)
def test_a_valley_of_no_kind(arguments: tuple[int, int, float], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Valley[str](*arguments, "all", "keep", add)


def test_what_a_valley_holds_at_every_loss() -> None:
    valley: Valley[str] = Valley(2, 2, 1.5, "all", "keep", add)
    seen = []
    # Loss 1 at c is the first that the next does not undercut; the threshold is 1.5 * (1 + 1) / 2 = 1.5.
    for name, loss in zip("abcdefghi", [9, 8, 1, 1, 2, 1.5, 2, 2, 1], strict=True):
        valley.add(name, loss)
        seen.append((valley.chosen(), valley.ended))
    assert seen == [
        (["a"], False),
        (["a", "b"], False),
        (["ab", "c"], False),
        (["cd"], False),
        (["cd", "e"], False),
        (["cdef"], False),
        (["cdef", "g"], False),
        (["cdef"], True),
        (["cdef"], True),
    ]
