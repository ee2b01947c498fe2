"""What is made ahead in threads: in order, bounded, and without threads that stay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from hamdg.data import parallel
from hamdg.data.images import DecodedImages
from hamdg.data.parallel import AHEAD, Ahead, render_each
from hamdg.data.transforms import EvaluationView
from tests.toys import Memory, numbered


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


def test_the_threads_end_with_the_last_number_and_start_again(ahead: Ahead[str]) -> None:
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


class Files(Memory):
    """Images in memory that note which threads read them, and how many at a time."""

    def __init__(self, contents: list[bytes], pause: float = 0.0) -> None:
        super().__init__(contents)
        self.pause = pause
        self.reads = 0
        self.threads: set[str] = set()
        # Threads that read at the same time, and the most that ever did.
        self.inside = self.most = 0

    def content(self, position: int) -> bytes:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(self.pause)
        self.inside -= 1
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        return super().content(position)


def test_many_are_decoded_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    files = Files(numbered(100))
    DecodedImages(files.listing(), EvaluationView(64)).read(np.arange(100))
    assert "MainThread" not in files.threads


def test_a_small_batch_is_dealt_out_to_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 6)
    files = Files(numbered(12), pause=0.05)
    DecodedImages(files.listing(), EvaluationView(64)).read(np.arange(12))
    assert len(files.threads) == 6
    assert files.most == 6


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_threads_decode_than_this_process_may_use(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 6)
    parallel.limit_threads(limit)
    files = Files(numbered(24), pause=0.01)
    pictures = DecodedImages(files.listing(), EvaluationView(64))
    with ThreadPoolExecutor(3) as pool:  # as many batches in the making at a time
        list(pool.map(lambda start: pictures.read(np.arange(start, start + 8)), (0, 8, 16)))
    assert files.most == limit


def test_more_threads_than_cores_are_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    assert parallel.decoding_threads() == 2
    parallel.limit_threads(8)
    assert parallel.decoding_threads() == 2


def test_leaving_early_ends_the_threads_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 4)
    files = Files(numbered(200), pause=0.01)
    with closing(render_each(files.listing(), EvaluationView(8), range(200))) as rendered:
        assert next(rendered).position == 0
        assert any(name.startswith("decode") for name in files.threads)
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())
    # Each thread ends the eight images that it is at; what waits behind them is given up.
    assert files.reads < 9 * 8
