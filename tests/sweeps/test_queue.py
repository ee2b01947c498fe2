from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hamdg.errors import RunDirectoryError, RunInUseError
from hamdg.sweeps import queue
from hamdg.sweeps.queue import Claims, Queue, run_all
from tests.sweeps.conftest import Inline

GROUPS = {"a": [0, 1, 2], "b": [3]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "PAUSE", 0.001)
    monkeypatch.setattr(queue, "LONGEST_PAUSE", 0.002)


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path / "claims")


def test_what_one_has_taken_another_does_not_get_until_it_is_given_back(tmp_path: Path) -> None:
    mine, others = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    assert mine.take("a")
    assert not others.take("a")
    assert others.take("b")
    mine.give_back("a")
    assert others.take("a")
    others.give_all_back()
    assert mine.take("a")
    assert mine.take("b")
    mine.give_all_back()


def test_claims_that_cannot_be_written_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = f"Cannot write to `{tmp_path / 'file' / 'claims'}`: not a directory; choose another `root`."
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        Claims(tmp_path / "file" / "claims").take("a")


@pytest.mark.parametrize("fails", [False, True])
def test_jobs_of_a_group_wait_for_the_first_one_that_succeeds(claims: Claims, fails: bool) -> None:
    jobs = Queue(GROUPS, claims)
    assert [jobs.next(), jobs.next(), jobs.next()] == [0, 3, None]
    jobs.finish(0, succeeded=not fails)
    assert jobs.next() == 1
    assert jobs.next() == (None if fails else 2)
    assert jobs.is_empty != fails


def test_what_others_have_is_left_out_and_done_when_it_is_given_back(tmp_path: Path, claims: Claims) -> None:
    others = Claims(tmp_path / "claims")
    others.take("a")
    jobs = Queue(GROUPS, claims)
    assert [jobs.next(), jobs.next()] == [3, None]
    assert not jobs.is_empty
    others.give_back("a")
    assert jobs.next() == 0
    assert not others.take("a")
    jobs.finish(3, succeeded=True)
    jobs.finish(0, succeeded=True)
    assert [jobs.next(), jobs.next()] == [1, 2]
    for number in (1, 2):
        jobs.finish(number, succeeded=True)
    assert jobs.is_empty
    assert others.take("a")
    others.give_all_back()


def test_a_run_that_another_process_works_on_is_tried_again(claims: Claims, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    def work(number: int) -> int:
        calls.append(number)
        if number == 0 and calls.count(0) < 4:
            raise RunInUseError("`logs/x` is in use by process 1; wait until it ends.")
        return 10 * number

    jobs: list[Callable[[], int]] = [partial(work, number) for number in range(4)]
    found = dict(run_all(jobs, GROUPS, claims, Inline(), 1))
    assert found == {0: 0, 1: 10, 2: 20, 3: 30}
    assert calls.count(0) == 4
    assert [calls.count(number) for number in (1, 2, 3)] == [1, 1, 1]
    assert calls.index(1) > [place for place, number in enumerate(calls) if number == 0][-1]
    waiting = "waiting for runs that another process works on; what it does is not done again"
    assert capsys.readouterr().out.count(waiting) == 1


def test_all_that_is_left_being_elsewhere_is_waited_for(tmp_path: Path, claims: Claims) -> None:
    others = Claims(tmp_path / "claims")
    others.take("a")
    done: list[str] = []

    def give_back() -> None:
        done.append("other")
        others.give_back("a")

    release = threading.Timer(0.05, give_back)

    def work(name: str) -> str:
        done.append(name)
        return name

    release.start()
    found = dict(run_all([partial(work, str(number)) for number in range(4)], GROUPS, claims, Inline(), 2))
    release.join()
    assert done == ["3", "other", "0", "1", "2"]
    assert found == {number: str(number) for number in range(4)}


def test_errors_are_results_and_claims_are_given_back(tmp_path: Path, claims: Claims) -> None:
    def work(number: int) -> int:
        if number == 0:
            raise ValueError("no")
        return number

    found = dict(run_all([partial(work, number) for number in range(4)], GROUPS, claims, Inline(), 1))
    assert isinstance(found.pop(0), ValueError)
    assert found == {1: 1, 2: 2, 3: 3}
    assert Claims(tmp_path / "claims").take("a")


def test_an_interrupted_sweep_gives_back_what_it_took(tmp_path: Path, claims: Claims) -> None:
    found = run_all([partial(int, number) for number in range(4)], GROUPS, claims, Inline(), 1)
    next(found)
    found.close()  # type: ignore[attr-defined]
    others = Claims(tmp_path / "claims")
    assert others.take("a")
    assert others.take("b")
