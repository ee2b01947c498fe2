"""What is made ahead: in order, bounded, and without threads that stay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from hamdg.data.parallel import AHEAD, Ahead


class Maker:
    """Notes down what it makes; number 3 cannot be made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, number: int) -> str:
        self.made.append(number)
        if number == 3:
            raise ValueError("3 cannot be made")
        return f"thing {number}"


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def ahead(make: Maker) -> Iterator[Ahead[str]]:
    ahead = Ahead(make)
    yield ahead
    ahead.close()


def settled(make: Maker) -> list[int]:
    """Return what was made once nothing more is."""
    before: list[int] | None = None
    while before != make.made:
        before = list(make.made)
        time.sleep(0.05)
    return sorted(make.made)


def running() -> bool:
    return any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_the_next_ones_are_made_meanwhile_and_no_more(make: Maker, ahead: Ahead[str]) -> None:
    assert ahead.take(0, range(1, 10)) == "thing 0"
    assert settled(make) == list(range(1 + AHEAD))
    assert ahead.take(1, range(2, 10)) == "thing 1"
    assert settled(make) == list(range(2 + AHEAD))


def test_an_error_is_raised_where_it_belongs(ahead: Ahead[str]) -> None:
    assert [ahead.take(number, range(number + 1, 6)) for number in range(3)] == ["thing 0", "thing 1", "thing 2"]
    with pytest.raises(ValueError, match="3 cannot be made"):
        ahead.take(3, range(4, 6))
    assert ahead.take(4, range(5, 6)) == "thing 4"


def test_another_number_than_the_next_is_as_good(make: Maker, ahead: Ahead[str]) -> None:
    ahead.take(0, range(1, 10))
    assert ahead.take(7, range(8, 10)) == "thing 7"
    assert ahead.take(1, range(2, 10)) == "thing 1"


def test_the_threads_end_with_the_last_number_and_start_anew(ahead: Ahead[str]) -> None:
    ahead.take(0, range(1, 2))
    assert running()
    ahead.take(1, range(2, 2))
    assert not running()
    assert ahead.take(0, range(0)) == "thing 0"
    assert not running()


def test_closing_ends_the_threads_and_gives_up_what_waits(make: Maker, ahead: Ahead[str]) -> None:
    ahead.take(0, range(1, 10))
    ahead.close()
    assert not running()
    assert set(make.made) <= set(range(1 + AHEAD))
