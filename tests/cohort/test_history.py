from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from hamdg.cohort.history import CheckpointHistory, history_steps
from hamdg.config.recipe import HistoryConfig, HistoryKind, TrainConfig
from hamdg.errors import StorageError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.merge.files.partial import COMPLETED_BY

if TYPE_CHECKING:
    from hamdg.cohort.cohort import Cohort
    from tests.cohort.conftest import World

STEPS = 7
CHECK_EVERY = 2
Named = dict[str, Tensor]
# Of the file that completes what is written here.
DIGEST = "5" * 64
Losses = dict[str, dict[int, float]]
# With n_s 2, n_e 1 and r 1.5, art's valley has the threshold 2.25 and holds the checks of steps 4 and 6.
VALLEYS: Losses = {"art": {2: 3.0, 4: 1.0, 6: 2.0, 7: 9.0}, "photo": {2: 4.0, 4: 3.0, 6: 2.0, 7: 1.0}}


def stored(path: Path) -> Named:
    """The tensors in a file, by their name in the image tower."""
    found = load_tensors(path)
    assert all(name.startswith("visual.") for name in found)
    return {name.removeprefix("visual."): tensor for name, tensor in found.items()}


def config(
    kind: HistoryKind = "mean", start: float = 0.5, every: int = 1, decay: float = 0.5, beta: float = 0.5, keep: int = 9
) -> HistoryConfig:
    """Return a configuration that the recipes' defaults have no part in."""
    return HistoryConfig(kind, start, every, decay, beta, keep, n_s=2, n_e=1, r=1.5)


@pytest.mark.parametrize(
    ("history", "steps", "expected"),
    [
        (config(start=0.5), 10, [5, 6, 7, 8, 9, 10]),
        (config(start=0.0), 3, [1, 2, 3]),
        (config(start=0.5, every=2), 10, [5, 7, 9, 10]),  # the last step is always one of them
        (config(start=0.29), 100, list(range(29, 101))),
        (config(start=0.55), 3, [1, 2, 3]),
        (config(start=0.9), 1, [1]),
        (config(kind="beta", start=0.0, every=4), 9, [0, 1, 5, 9]),
        (config(kind="beta", start=0.5), 4, [0, 2, 3, 4]),
        (config(kind="snapshots", start=0.2, every=3), 10, [2, 5, 8, 10]),
        (config(kind="last", start=0.0), 10, [10]),
        (config(kind="swad", start=0.9, every=2), 8, [2, 4, 6, 8]),
        (config(kind="swad", every=3), 10, [3, 4, 6, 8, 9, 10]),  # what is validated is always in it
        (config(kind="swad", every=99), 6, [4, 6]),
    ],
)
def test_history_steps(history: HistoryConfig, steps: int, expected: list[int]) -> None:
    assert history_steps(history, steps, check_every=4) == expected


class Training:
    """Moves a cohort along a random trajectory that is remembered, and calls the callback as a Trainer would."""

    def __init__(self, world: World, history: CheckpointHistory, losses: Losses | None = None) -> None:
        self.cohort: Cohort = world.but(sources=("art", "photo")).cohort()
        self.history = history
        self.losses = losses or VALLEYS if history.config.kind == "swad" else {}
        self.trajectory: dict[str, list[Named]] = {s: [v] for s, v in world.weights(self.cohort).items()}

    def run(self, steps: range) -> None:
        if steps.start == 0:
            self.history.on_train_start(trainer_at(0), self.cohort)
        for step in steps:
            for number, (source, named) in enumerate(self.parameters().items()):
                draws = torch.Generator().manual_seed(100 * number + step)
                with torch.no_grad():
                    for parameter in named.values():
                        parameter.add_(torch.randn(parameter.shape, generator=draws), alpha=0.1)
                self.trajectory[source].append({name: p.detach().clone() for name, p in named.items()})
            self.history.on_train_batch_end(trainer_at(step + 1), self.cohort, None, None, step)
            for source, losses in self.losses.items():
                if step + 1 in losses:
                    self.history.note_validation(source, step + 1, 0.25, losses[step + 1])

    def parameters(self) -> dict[str, Named]:
        return {source: learner.result.weights() for source, learner in self.cohort.learners.items()}

    def end(self) -> dict[str, Any]:
        self.history.on_train_end(trainer_at(STEPS), self.cohort)
        index: dict[str, Any] = json.loads((self.history.folder / "index.json").read_text())
        return index

    def whole(self) -> dict[str, Any]:
        self.run(range(STEPS))
        return self.end()


def trainer_at(step: int) -> Trainer:
    return cast("Trainer", SimpleNamespace(global_step=step, is_global_zero=True))


def make(folder: Path, history: HistoryConfig) -> CheckpointHistory:
    return CheckpointHistory(folder, history, STEPS, check_every=CHECK_EVERY, metadata={COMPLETED_BY: DIGEST})


def begin(world: World, folder: Path, history: HistoryConfig, losses: Losses | None = None) -> Training:
    return Training(world, make(folder, history), losses)


def weighted(states: list[Named], weights: list[float]) -> Named:
    """The weighted mean in float64."""
    total = sum(weights)
    return {
        name: cast("Tensor", sum(w / total * state[name].double() for w, state in zip(weights, states, strict=True)))
        for name in states[0]
    }


def expected_average(kind: str, trajectory: list[Named]) -> Named:
    """The average of each kind over a trajectory with the start at position 0, from its definition."""
    chosen = trajectory[3:]  # int(0.5 * 7)
    if kind == "mean":
        return weighted(chosen, [1.0] * len(chosen))
    if kind == "ema":
        count = len(chosen)
        return weighted(chosen, [0.8 ** (count - 1)] + [0.2 * 0.8 ** (count - 1 - k) for k in range(1, count)])
    if kind == "beta":
        states = [trajectory[0], *chosen]
        points = [(t + 0.5) / len(states) for t in range(len(states))]
        return weighted(states, [1 / math.sqrt(x * (1 - x)) for x in points])
    return weighted(trajectory[-1:], [1.0])


@pytest.mark.parametrize("kind", ["mean", "ema", "beta", "last"])
def test_averages_equal_those_of_the_stored_trajectory(world: World, tmp_path: Path, kind: HistoryKind) -> None:
    training = begin(world, tmp_path, config(kind, decay=0.8))
    index = training.whole()

    assert index["kind"] == kind
    assert index["steps"] == {"beta": [0, 3, 4, 5, 6, 7], "last": [7]}.get(kind, [3, 4, 5, 6, 7])
    for source, trajectory in training.trajectory.items():
        (entry,) = index["sources"][source]["history"]
        found = stored(tmp_path / entry["file"])
        expected = expected_average(kind, trajectory)
        assert list(found) == sorted(expected)
        for name, tensor in found.items():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
        last = stored(tmp_path / index["sources"][source]["last"]["file"])
        assert all(torch.equal(last[name], trajectory[-1][name]) for name in last)


def test_snapshots_are_the_states_themselves_and_bounded(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("snapshots", start=0.2, every=1, keep=3))
    most = 0
    for step in range(STEPS):
        training.run(range(step, step + 1))
        most = max(most, len(list((tmp_path / "snapshots" / "art").glob("step-*"))))
    index = training.end()

    assert most == 3
    for source, trajectory in training.trajectory.items():
        entries = index["sources"][source]["history"]
        assert [entry["step"] for entry in entries] == [5, 6, 7]
        assert sorted(p.name for p in (tmp_path / "snapshots" / source).glob("step-*")) == [
            f"step-00000{step}.safetensors" for step in (5, 6, 7)
        ]
        for entry in entries:
            content = (tmp_path / entry["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
            found = stored(tmp_path / entry["file"])
            assert all(torch.equal(found[name], trajectory[entry["step"]][name]) for name in found)
            assert read_metadata(tmp_path / entry["file"]) == {
                "hamdg.completed_by": DIGEST,
                "kind": "snapshots",
                "source": source,
                "step": str(entry["step"]),
            }


def test_the_index_knows_accuracies_that_were_measured_after_the_snapshot(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("snapshots", start=0.8, keep=9))
    training.run(range(6))
    training.history.note_validation("art", 6, 0.5, 1.0)
    training.run(range(6, STEPS))
    training.history.note_validation("art", 7, 0.75, math.inf)
    sources = training.end()["sources"]

    found = {entry["step"]: entry["validation_accuracy"] for entry in sources["art"]["history"]}
    assert found == {5: None, 6: 0.5, 7: 0.75}
    assert sources["art"]["last"]["validation_accuracy"] == 0.75
    assert sources["photo"]["last"]["validation_accuracy"] is None


def test_a_second_training_with_the_same_callback_knows_no_accuracies_of_the_first(
    world: World, tmp_path: Path
) -> None:
    first = begin(world, tmp_path, config("last"))
    first.run(range(STEPS))
    first.history.note_validation("art", 7, 0.75, 1.0)
    assert first.end()["sources"]["art"]["last"]["validation_accuracy"] == 0.75
    assert Training(world, first.history).whole()["sources"]["art"]["last"]["validation_accuracy"] is None


def test_an_average_does_not_borrow_the_last_models_accuracy(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("mean"))
    training.run(range(STEPS))
    training.history.note_validation("art", 7, 0.75, 1.0)
    files = training.end()["sources"]["art"]

    assert files["last"]["validation_accuracy"] == 0.75
    assert files["history"][0]["validation_accuracy"] is None


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("stop", [1, 4, 6])
@pytest.mark.parametrize("kind", ["mean", "ema", "beta", "last", "snapshots", "swad"])
def test_a_resumed_history_is_equal_bit_for_bit(world: World, tmp_path: Path, kind: HistoryKind, stop: int) -> None:
    history = config(kind, start=0.2, keep=2)
    # After steps 1, 4 and 6 art's valley has not begun, is going on, has ended; photo's begins with the loss of step 6.
    losses = {"art": {2: 1.0, 4: 1.5, 6: 9.0, 7: 1.0}, "photo": VALLEYS["art"]} if kind == "swad" else None
    begin(world, tmp_path / "whole", history, losses).whole()

    killed = begin(world, tmp_path / "part", history, losses)
    killed.run(range(stop))
    if kind != "swad":  # it was reported already, where it was due
        killed.history.note_validation("art", stop, 0.5, 1.0)
    saved = io.BytesIO()
    torch.save({"history": killed.history.state_dict(), "cohort": killed.cohort.state_dict()}, saved)
    killed.run(range(stop, min(stop + 2, STEPS)))  # lost: the checkpoint knows nothing of it
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    resumed = begin(world, tmp_path / "part", history, losses)
    resumed.cohort.load_state_dict(state["cohort"])
    resumed.history.load_state_dict(state["history"])
    if kind != "swad":
        assert resumed.history.state_dict()["validation"] == {"art": {stop: 0.5}}
        resumed.history.load_state_dict({**state["history"], "validation": {}})
    resumed.run(range(stop, STEPS))
    resumed.end()

    assert content_of(tmp_path / "part") == content_of(tmp_path / "whole")


def test_a_full_disk_leaves_earlier_snapshots_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(world, tmp_path, config("snapshots", start=0.2, keep=9))
    training.run(range(3))
    before = content_of(tmp_path)

    write, room = os.pwrite, 100

    def half(handle: int, content: memoryview, place: int) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(content)
        return write(handle, content, place)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(StorageError, match=r"^Cannot write `.*step-000004\.safetensors`: the disk is full \(.*\); "):
        training.run(range(3, 4))

    assert content_of(tmp_path) == before
    assert len(before) == 8
    for name in before:
        stored(tmp_path / name)


def test_when_models_enter_is_one_override(world: World, tmp_path: Path) -> None:
    class Evens(CheckpointHistory):
        def due(self, step: int) -> bool:
            return step > 0 and step % 2 == 0

    training = Training(world, Evens(tmp_path, config("snapshots", keep=9), STEPS, check_every=CHECK_EVERY))

    assert [entry["step"] for entry in training.whole()["sources"]["art"]["history"]] == [2, 4, 6]


def test_models_that_start_alike_share_one_file(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config())
    training.run(range(1))
    files = [tmp_path / "start" / f"{source}.safetensors" for source in ("art", "photo")]
    assert files[0].samefile(files[1])
    start = stored(files[0])
    assert all(torch.equal(start[name], value) for name, value in training.trajectory["art"][0].items())
    assert read_metadata(files[0]) == {"hamdg.completed_by": DIGEST, "step": "0"}


def test_the_mean_of_snapshots_lies_where_other_averages_do(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("snapshots", start=0.0, keep=3))
    files = training.whole()["sources"]["art"]
    assert files["mean"]["file"] == "history/art.safetensors"
    expected = weighted(training.trajectory["art"][-3:], [1.0] * 3)
    for name, tensor in stored(tmp_path / files["mean"]["file"]).items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")  # BatchNorm and all else start in eval mode
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")  # Lightning's own use of torch
def test_a_trainer_fills_the_history(each_world: World, tmp_path: Path) -> None:
    world = each_world.but(train=TrainConfig(steps=4, lr=1e-3, warmup=2))
    last = world.fit(world.cohort(), [CheckpointHistory(tmp_path, config("snapshots", start=0.0))])
    short = world.but(train=TrainConfig(steps=4, lr=1e-3, warmup=2))
    cohort = short.cohort()
    trainer = short.trainer()
    trainer.fit_loop.epoch_loop.max_steps = 2
    trainer.fit(cohort, train_dataloaders=short.loader())

    for source, named in short.weights(cohort).items():
        second = stored(tmp_path / "snapshots" / source / "step-000002.safetensors")
        assert all(torch.equal(second[name], tensor) for name, tensor in named.items())
        end = stored(tmp_path / "last" / f"{source}.safetensors")
        assert all(torch.equal(end[name], last[source][name]) for name in end)
