"""`history.kind: best`: the state with the best accuracy on the hold-out set, also of a run that was killed."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.cohort.best import Best
from hamdg.cohort.history import history_steps
from hamdg.config.recipe import HistoryConfig, HistoryKind
from tests.cohort.test_history import STEPS, begin, config, content_of, stored

if TYPE_CHECKING:
    from tests.cohort.conftest import World
    from tests.cohort.test_history import Training

# Of art the first of two equally good states, of photo the last one of all.
ACCURACIES = {"art": {2: 0.5, 4: 0.75, 6: 0.75, 7: 0.25}, "photo": {2: 0.5, 4: 0.25, 6: 0.5, 7: 0.625}}
BEST = {"art": (4, 0.75), "photo": (7, 0.625)}


def run(training: Training, steps: range) -> None:
    for step in steps:
        training.run(range(step, step + 1))
        for source, known in ACCURACIES.items():
            if step + 1 in known:
                training.history.note_validation(source, step + 1, known[step + 1], 1.0)


def assert_killed_run_keeps_the_same(world: World, folder: Path, history: HistoryConfig, stop: int) -> None:
    """Check that a run that is killed after some steps, and resumed, leaves the files of one that was not."""
    whole = begin(world, folder / "whole", history)
    run(whole, range(STEPS))
    whole.end()
    killed = begin(world, folder / "part", history)
    run(killed, range(stop))
    saved = io.BytesIO()
    torch.save({"history": killed.history.state_dict(), "cohort": killed.cohort.state_dict()}, saved)
    run(killed, range(stop, STEPS))  # lost: the checkpoint knows nothing of it
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    resumed = begin(world, folder / "part", history)
    resumed.cohort.load_state_dict(state["cohort"])
    resumed.history.load_state_dict(state["history"])
    run(resumed, range(stop, STEPS))
    resumed.end()
    assert content_of(folder / "part") == content_of(folder / "whole")


def test_the_states_that_are_measured_enter() -> None:
    best = config("best", start=0.9, every=3)
    assert history_steps(best, 7, check_every=2) == [2, 4, 6, 7]
    assert history_steps(best, 6, check_every=2) == [2, 4, 6]
    assert history_steps(best, 6) == [6]


def test_the_best_state_is_kept_the_first_of_equals(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("best"))
    run(training, range(STEPS))
    index = training.end()
    assert (index["kind"], index["steps"]) == ("best", [2, 4, 6, 7])
    for source, (step, accuracy) in BEST.items():
        (entry,) = index["sources"][source]["history"]
        assert (entry["step"], entry["validation_accuracy"]) == (step, accuracy)
        found = stored(tmp_path / entry["file"])
        assert all(torch.equal(found[name], tensor) for name, tensor in training.trajectory[source][step].items())
    assert sorted(path.parent.name for path in tmp_path.rglob("art.safetensors")) == ["history", "last", "start"]


def test_what_is_never_measured_leaves_its_last_state(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("best"))
    (entry,) = training.whole()["sources"]["art"]["history"]
    assert (entry["step"], entry["validation_accuracy"]) == (STEPS, None)
    found = stored(tmp_path / entry["file"])
    assert all(torch.equal(found[name], tensor) for name, tensor in training.trajectory["art"][-1].items())


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_killed_run_keeps_the_same(world: World, tmp_path: Path, stop: int) -> None:
    assert_killed_run_keeps_the_same(world, tmp_path, config("best"), stop)


def test_an_accuracy_that_is_no_number_is_never_the_best() -> None:
    best, weights = Best(), torch.tensor([1.0])
    for step, accuracy in enumerate([0.25, math.nan, 0.125], start=1):
        best.update([weights * step])
        best.validated(step, accuracy)
    assert (best.step, best.accuracy) == (1, 0.25)
    torch.testing.assert_close(best.value(), [torch.tensor([1.0])])


@pytest.mark.parametrize("kind", ["best", "last", "mean", "snapshots", "validated"])
def test_accuracies_that_are_no_numbers_leave_the_last_state_and_none_in_the_index(
    world: World, tmp_path: Path, kind: HistoryKind
) -> None:
    training = begin(world, tmp_path, config(kind))
    for step in range(STEPS):
        training.run(range(step, step + 1))
        if step + 1 in ACCURACIES["art"]:
            training.history.note_validation("art", step + 1, math.nan, 1.0)
    files = training.end()["sources"]["art"]
    assert files["last"]["validation_accuracy"] is None
    assert {entry["validation_accuracy"] for entry in files["history"]} == {None}
    if kind == "best":
        found = stored(tmp_path / files["history"][0]["file"])
        assert files["history"][0]["step"] == STEPS
        assert all(torch.equal(found[name], tensor) for name, tensor in training.trajectory["art"][-1].items())


def test_what_is_measured_after_numbers_that_are_none_may_be_the_best() -> None:
    best, weights = Best(), torch.tensor([1.0])
    for step, accuracy in enumerate([math.nan, 0.25, math.nan], start=1):
        best.update([weights * step])
        best.validated(step, accuracy)
    assert (best.step, best.accuracy) == (2, 0.25)
    torch.testing.assert_close(best.value(), [torch.tensor([2.0])])
