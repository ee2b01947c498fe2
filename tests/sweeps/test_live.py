"""What a sweep shows while it runs, and how it judges what is left."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import pytest
from rich.console import Console

from hamdg.config.recipe import Recipe
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.ledger import Outcome
from hamdg.sweeps.live import SweepProgress, drawn, summary
from hamdg.sweeps.status import Kind, State, seconds_left


def job(variant: str, seed: int) -> Job:
    return Job("clean", variant, Recipe(seed=seed), "evaluate")


def states(kinds: Sequence[Kind], seconds: float | None = None, variant: str = "HAM") -> list[State]:
    """Return states of runs that each train."""
    return [
        State(job(variant, seed), kind, seconds=seconds if kind == "done" else None) for seed, kind in enumerate(kinds)
    ]


def test_what_is_left_is_as_long_as_runs_like_it_took() -> None:
    found = states(["done", "done", "waiting", "stopped", "waiting"], 10.0)
    assert seconds_left(found, 1) == 30.0
    assert seconds_left(found, 2) == 15.0
    # Never less than the longest run takes, however many run at a time.
    assert seconds_left(found, 100) == 10.0
    assert seconds_left(states(["waiting"] * 3), 1) is None
    assert seconds_left(states(["done"]), 1) is None


def test_a_variant_is_judged_by_its_own_runs_where_there_are_some() -> None:
    quick, slow = states(["done", "waiting"], 5.0), states(["done", "waiting"], 50.0, "slow")
    assert seconds_left([*quick, *slow], 1) == 55.0
    assert seconds_left([*quick, *states(["waiting"], variant="other")], 1) == 10.0


def test_a_run_at_work_takes_only_the_rest_of_its_time() -> None:
    running = State(job("HAM", 9), "running", since=time.time() - 4)
    left = seconds_left([*states(["done"], 10.0), running], 1)
    assert left == pytest.approx(6.0, abs=0.2)


def text_of(progress: SweepProgress) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=200, force_terminal=False).print(drawn(progress))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_the_table_shows_what_runs_what_failed_and_the_rest() -> None:
    progress = SweepProgress("few", states(["waiting"] * 6), workers=2)
    for number in range(4):
        progress.begin(number)
    progress.finish(0, Outcome(job("HAM", 0), "logs/a", seconds=30.0))
    progress.finish(1, Outcome(job("HAM", 1), "", "the loss became nan.", "x.txt", 3.0))
    progress.postpone(3)
    head, columns, running, failed, elsewhere = text_of(progress)
    assert head.startswith("few")
    assert "1 done, 1 running, 1 failed, 3 waiting, elapsed " in " ".join(head.split())
    assert columns.split() == ["running", "here", "condition", "held", "out", "seed", "for"]
    assert running.split()[:4] == ["HAM", "clean", "sketch", "2"]
    assert failed.startswith(
        "failed: variant `HAM`, condition `clean`, held out `sketch`, seed 1: the loss became nan."
    )
    assert elsewhere == "1 with another process"


def test_lines_say_how_long_a_run_took_and_what_is_left() -> None:
    progress = SweepProgress("few", states(["waiting"] * 3), workers=1)
    progress.finish(0, Outcome(job("HAM", 0), "logs/a", seconds=30.0))
    place = "variant `HAM`, condition `clean`, held out `sketch`, seed"
    assert progress.line(0) == f"1/3 done: {place} 0 (30 s, about 1:00 min left)"
    progress.finish(1, Outcome(job("HAM", 1), "", "the loss became nan.", "x.txt"))
    assert progress.line(1) == f"2/3 failed: {place} 1: the loss became nan."
    progress.finish(2, Outcome(job("HAM", 2), "logs/b"))
    assert progress.line(2) == f"3/3 done: {place} 2"


def test_the_summary_has_an_end() -> None:
    found = states(["done", "waiting"], 10.0)
    clock = time.strftime("%H:%M", time.localtime(time.time() + 90))
    assert summary(found, 65, 90) == f"1 done, 1 waiting, elapsed 1:05 min, about 1:30 min left, until {clock}"
    assert summary(found[:1], 65, 0.0) == "1 done, elapsed 1:05 min"


def test_what_is_left_is_told_again_and_again_without_hashing_recipes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def training_identity(recipe: Recipe) -> str:
        hashed.append(recipe.seed)
        return str(recipe)

    monkeypatch.setattr("hamdg.sweeps.jobs.training_identity", training_identity)
    progress = SweepProgress("few", states(["done", "waiting", "waiting"], 10.0), workers=1)
    assert [progress.left for _ in range(3)] == [20.0] * 3
    progress.begin(1)
    assert progress.left == pytest.approx(20.0, abs=0.5)
    assert hashed == [0, 1, 2]
