"""What is said of how far a run is, and of how long the rest takes: by a clock that a test moves."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from hamdg import bars, console
from hamdg.progress import Progress


class Clock:
    """Tells the time that a test has set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_earlier_runs_took_is_left_at_first(clock: Clock) -> None:
    progress = Progress({"train": 90.0, "merge": 0.0, "evaluate": 30.0}, measured=True, clock=clock)
    assert progress.left() == "2:00 min left"


def test_a_part_goes_at_its_own_pace_and_the_others_as_before(clock: Clock) -> None:
    progress = Progress({"train": 100.0, "evaluate": 900.0}, measured=True, clock=clock)
    with progress.part("train"):
        progress.update(0, 10)
        clock.now += 80  # 40 of 100 expected seconds of work
        progress.update(4, 10)
        # 6 steps of 20 s; too little of the whole is done to say that all of it is slow
        assert progress.left() == "17:00 min left"


def test_the_pace_of_this_run_counts_once_enough_of_it_is_done(clock: Clock) -> None:
    progress = Progress({"train": 100.0, "evaluate": 100.0}, measured=True, clock=clock)
    with progress.part("train"):
        progress.update(0, 10)
        clock.now += 200
        progress.update(10, 10)
    assert progress.left() == "3:20 min left"
    with progress.part("evaluate"):
        clock.now += 50  # a part that does not say how far it is
        assert progress.left() == "2:30 min left"
        clock.now += 1000
        assert progress.left() == "0 s left"


def test_nothing_is_invented_before_the_first_steps(clock: Clock) -> None:
    progress = Progress({"train a": 300.0, "train b": 300.0, "evaluate": 30.0}, clock=clock)
    assert progress.left() == ""
    with progress.part("train a"):
        progress.update(0, 100)
        assert progress.left() == ""
        clock.now += 0.5
        progress.update(10, 100)
        assert progress.left() == "", "half a second tells no pace"
        clock.now += 1.5
        progress.update(20, 100)  # 60 units in 2 s: 8 s here, 11 s for 330 units
        assert progress.left() == "at least 19 s left"
        clock.now += 8
        progress.update(100, 100)
    with progress.part("train b"):
        progress.update(0, 100)
        clock.now += 10
        progress.update(50, 100)  # 10 s here; 450 units took 20 s, so 30 units take 1.3 s
        assert progress.left() == "about 11 s left"


def test_a_part_that_goes_on_is_judged_by_what_it_does_now(clock: Clock) -> None:
    progress = Progress({"train": 100.0}, clock=clock)
    with progress.part("train"):
        clock.now += 60  # images are decoded
        progress.update(80, 100)
        clock.now += 2
        progress.update(90, 100)
        assert progress.left() == "about 2 s left"


def test_what_is_not_planned_counts_nothing(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.part("train"):
        progress.update(1, 2)
        clock.now += 10
        progress.update(2, 2)
    assert progress.left() == ""


def test_lines_are_printed_at_every_quarter(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress({"train": 12.0}, measured=True, clock=clock)
    with progress.shown(), progress.part("train"):
        progress.update(0, 6)
        for step in range(1, 7):
            clock.now += 2
            progress.update(step, 6, lambda: "loss 1.00")
    assert capsys.readouterr().out.splitlines() == [
        "  step     1/6 | loss 1.00 | 10 s left",
        "  step     3/6 | loss 1.00 | 6 s left",
        "  step     4/6 | loss 1.00 | 4 s left",
        "  step     6/6 | loss 1.00 | 0 s left",
    ]


def test_a_quiet_run_shows_nothing_and_asks_for_no_text(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def text() -> str:
        raise AssertionError

    progress = Progress({"train": 1.0}, clock=clock)
    with console.output(quiet=True), progress.shown(), progress.part("train"):
        assert not progress.is_line_due(4, 4)
        progress.update(4, 4, text)
    assert capsys.readouterr() == ("", "")


def test_one_bar_on_a_terminal_shows_part_loss_and_times(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    make = bars.progress_bar

    def on_screen(left: object = None) -> object:
        bar = make(progress.left)
        bar.live.console = Console(file=screen, width=200, force_terminal=True)
        return bar

    monkeypatch.setattr(bars, "progress_bar", on_screen)
    progress = Progress({"train HAM": 30.0, "evaluate HAM": 10.0}, measured=True, clock=clock)
    with progress.shown():
        with progress.part("train HAM"):
            progress.update(0, 10)
            clock.now += 15
            progress.update(5, 10, lambda: "loss 0.50")
            assert not progress.is_line_due(5, 10)
            bar, _ = progress._bar or pytest.fail("no bar")
            assert bar.tasks[0].percentage == pytest.approx(37.5)
            assert bar.tasks[0].description == "train HAM 5/10 | loss 0.50"
            with console.progress(3, "images decoded") as advance:  # within it, not beside it
                advance(1)
                assert [one.description for one in bar.tasks][1:] == ["images decoded"]
            assert len(bar.tasks) == 1
            bar.refresh()
            assert " 38% 0:00:00 25 s left train HAM 5/10 | loss 0.50" in re.sub(
                "\x1b\\[[0-9;]*m", "", screen.getvalue()
            )
        with progress.part("evaluate HAM"):
            assert bar.tasks[0].percentage == pytest.approx(75)
            assert bar.tasks[0].description == "evaluate HAM"
    assert not bar.live.is_started
    assert capsys.readouterr().out == ""


def test_the_text_of_a_bar_gives_way_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bar, screen = bars.progress_bar(lambda: "at least 12:30 min left"), io.StringIO()
    bar.add_task("train HAM (reconstruction) 100/200 | loss art 0.50, cartoon 0.40", total=2, completed=1)
    Console(file=screen, width=80).print(bar)
    (line,) = screen.getvalue().splitlines()
    assert " 50% 0:00:00 at least 12:30 min left train HAM" in line
