from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.validation import SourceValidation
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.augment import to_float
from hamdg.errors import TrainingError
from tests.cohort.test_history import STEPS, VALLEYS, begin, config, content_of, stored, weighted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hamdg.cohort.cohort import Cohort
    from tests.cohort.conftest import World


def facts(found: bool, ended: bool, first: int, last: int, states: int, threshold: float | None) -> dict[str, object]:
    known = {"found": found, "ended": ended, "first_step": first, "last_step": last, "states": states}
    return known | {"threshold": threshold}


# By hand, with n_s 2, n_e 1, r 1.5, checks after steps 2, 4, 6 and 7; a check closes the segment of all states since
# the one before.
BY_HAND = [
    # 3 is not the least of 3, 1; 1 is, of 1, 2: the threshold is 1.5 * 1.5. 9 is above and ends it: segments 2 and 3.
    (1, [3.0, 1.0, 2.0, 9.0], [3, 4, 5, 6], facts(True, True, 3, 6, 4, 2.25)),
    # Every 3rd step, and those with a check: 2 | 3, 4 | 6 | 7.
    (3, [3.0, 1.0, 2.0, 9.0], [3, 4, 6], facts(True, True, 3, 6, 3, 2.25)),
    # The first is the minimum; nothing is above 1.5 * 2.5.
    (1, [2.0, 3.0, 3.5, 3.75], [1, 2, 3, 4, 5, 6, 7], facts(True, False, 1, 7, 7, 3.75)),
    # The start is found with the last loss.
    (1, [4.0, 3.0, 2.0, 2.5], [5, 6, 7], facts(True, False, 5, 7, 3, 3.375)),
    # It only falls: no start, all states count.
    (1, [4.0, 3.0, 2.0, 1.0], [1, 2, 3, 4, 5, 6, 7], facts(False, False, 1, 7, 7, None)),
]


@pytest.mark.parametrize(("every", "losses", "steps", "valley"), BY_HAND)
def test_swad_is_the_mean_of_the_states_in_the_valley_and_says_where_it_lies(
    world: World, tmp_path: Path, every: int, losses: list[float], steps: list[int], valley: dict[str, object]
) -> None:
    checks = dict(zip((2, 4, 6, 7), losses, strict=True))
    training = begin(world, tmp_path, config("swad", every=every), {"art": checks, "photo": VALLEYS["photo"]})
    index = training.whole()

    assert index["kind"] == "swad"
    assert index["steps"] == ([1, 2, 3, 4, 5, 6, 7] if every == 1 else [2, 3, 4, 6, 7])
    assert index["sources"]["art"]["valley"] == valley
    assert index["sources"]["photo"]["valley"]["found"] is False
    (entry,) = index["sources"]["art"]["history"]
    assert entry["validation_accuracy"] is None
    assert index["sources"]["art"]["last"]["validation_accuracy"] == 0.25
    found = stored(tmp_path / entry["file"])
    expected = weighted([training.trajectory["art"][step] for step in steps], [1.0] * len(steps))
    assert list(found) == sorted(expected)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_with_too_few_losses_to_find_a_valley_the_last_model_is_the_history(world: World, tmp_path: Path) -> None:
    four = {"art": {2: 3.0, 4: 1.0, 6: 2.0, 7: 9.0}, "photo": VALLEYS["photo"]}
    own = replace(config("swad", every=1), n_s=5)
    training = begin(world, tmp_path, own, four)
    index = training.whole()
    assert index["sources"]["art"]["valley"] == facts(False, False, 7, 7, 1, None)
    (entry,) = index["sources"]["art"]["history"]
    assert (entry["step"], entry["validation_accuracy"]) == (7, 0.25)
    found = stored(tmp_path / entry["file"])
    assert all(torch.equal(found[name], tensor) for name, tensor in stored(tmp_path / "last/art.safetensors").items())


def test_only_swad_tells_of_a_valley(world: World, tmp_path: Path) -> None:
    assert set(begin(world, tmp_path, config("mean")).whole()["sources"]["art"]) == {"start", "last", "history"}


def test_swad_stores_nothing_but_a_few_averages(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("swad"))
    numbers = sum(tensor.numel() for tensor in training.trajectory["art"][0].values())
    for step in range(STEPS):
        training.run(range(step, step + 1))
        # n_s + 1 copies before the start is found, 3 afterwards.
        averages = training.history.state_dict()["averages"]
        assert all(numbers <= size_of(state) <= 3 * numbers for state in averages.values())
        assert {name.partition("/")[0] for name in content_of(tmp_path)} == {"start"}
    training.end()
    assert sorted(content_of(tmp_path)) == [
        *(f"history/{source}.safetensors" for source in ("art", "photo")),
        "index.json",
        *(f"last/{source}.safetensors" for source in ("art", "photo")),
        *(f"start/{source}.safetensors" for source in ("art", "photo")),
    ]


def size_of(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return sum(size_of(part) for part in value)
    return value.numel() if isinstance(value, Tensor) else 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_swad_refuses_a_loss_that_is_no_number(world: World, tmp_path: Path, loss: float) -> None:
    training = begin(world, tmp_path, config("swad"), {"art": {2: 1.0, 4: loss}})
    with pytest.raises(TrainingError) as caught:
        training.run(range(4))
    assert str(caught.value) == (
        f"the loss of source `art` on its own hold-out set became {loss} at step 4, and SWAD uses it. "
        "Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
    )


def test_swad_takes_no_loss_of_a_state_that_it_does_not_have_yet(world: World, tmp_path: Path) -> None:
    training = begin(world, tmp_path, config("swad"), {"art": {}})
    training.run(range(1))
    with pytest.raises(AssertionError, match=r"^a state enters its history before it is measured"):
        training.history.note_validation("art", 2, 0.5, 1.0)


class Remember(CSVLogger):
    def __init__(self, folder: Path, logged: dict[int, dict[str, float]]) -> None:
        super().__init__(folder)
        self.logged = logged

    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        assert step is not None
        self.logged.setdefault(step, {}).update({name: float(value) for name, value in metrics.items()})


class AfterEachCheck(Callback):
    """Asserts that the loss of a step closed the segment that holds the weights of that very step."""

    def __init__(self, history: CheckpointHistory, logged: dict[int, dict[str, float]]) -> None:
        self.history = history
        self.logged = logged
        self.checked = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        for source, learner in cast("Cohort", pl_module).learners.items():
            named = learner.result.weights()
            state = self.history.state_dict()["averages"][source]
            segment, loss = state["recent"][-1]
            assert state["open"]["count"] == 0
            assert segment["count"] == 1
            assert all(torch.equal(a, b) for a, b in zip(segment["average"], named.values(), strict=True))
            assert loss == self.logged[trainer.global_step][f"validation/loss/{source}"]
            self.checked += 1


@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
def test_swad_gets_the_loss_of_a_step_after_the_update_of_the_same_step(each_world: World, tmp_path: Path) -> None:
    world = each_world.but(train=TrainConfig(steps=3, lr=1e-3, warmup=2))
    logged: dict[int, dict[str, float]] = {}
    # With n_s above the number of checks, every segment is still there to be looked at.
    history = CheckpointHistory(tmp_path, HistoryConfig("swad", every=1, n_s=9), check_every=1)
    validation = SourceValidation(world.hold_outs(), to_float, 1, 3, history.note_validation, log_loss=True)
    after = AfterEachCheck(history, logged)
    world.fit(world.cohort(), [history, validation, after], Remember(tmp_path / "log", logged))
    assert after.checked == 9
