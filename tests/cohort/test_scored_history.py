"""`history.kind: validated`: states weigh as their accuracy on the hold-out set, also in a run that was killed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.cohort.history import history_steps
from hamdg.cohort.scored import ScoredMean
from tests.cohort.test_best_history import ACCURACIES, assert_killed_run_keeps_the_same, run
from tests.cohort.test_history import STEPS, begin, config, stored

if TYPE_CHECKING:
    from tests.cohort.conftest import World


def test_the_states_that_are_measured_enter_from_the_start_on() -> None:
    assert history_steps(config("validated", start=0.5), 8, check_every=2) == [4, 6, 8]
    assert history_steps(config("validated", start=0.0), 7, check_every=2) == [2, 4, 6, 7]
    assert history_steps(config("validated", start=1.0), 7, check_every=2) == [7]
    assert history_steps(config("validated"), 6) == [6]


def test_states_weigh_as_their_accuracy(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("validated", start=0.5))
    run(training, range(STEPS))
    index = training.end()
    assert (index["kind"], index["steps"]) == ("validated", [4, 6, 7])
    for source, known in ACCURACIES.items():
        (entry,) = index["sources"][source]["history"]
        found, states = stored(tmp_path / entry["file"]), training.trajectory[source]
        whole = sum(known[step] for step in (4, 6, 7))
        for name, tensor in found.items():
            expected = sum((known[step] / whole * states[step][name].double() for step in (4, 6, 7)), torch.zeros(()))
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_never_measured_leaves_its_last_state(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("validated"))
    (entry,) = training.whole()["sources"]["art"]["history"]
    found = stored(tmp_path / entry["file"])
    assert all(torch.equal(found[name], tensor) for name, tensor in training.trajectory["art"][-1].items())


@pytest.mark.parametrize("stop", [4, 6])
def test_a_killed_run_keeps_the_same(world: World, tmp_path: Path, stop: int) -> None:
    assert_killed_run_keeps_the_same(world, tmp_path, config("validated", start=0.5), stop)


def test_an_accuracy_that_is_no_number_weighs_nothing() -> None:
    mean, weights = ScoredMean(), torch.tensor([1.0])
    for value, accuracy in [(1.0, 0.25), (9.0, float("nan")), (3.0, 0.75)]:
        mean.update([weights * value])
        mean.validated(accuracy)
    torch.testing.assert_close(mean.value(), [torch.tensor([2.5])])
