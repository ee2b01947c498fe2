from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.plugins import Precision
from torch import Tensor

from hamdg.cohort import validation
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.cohort.resume import ResumeCheckpoint, checkpoint_step
from hamdg.cohort.validation import SourceValidation, measured
from hamdg.data.augment import to_float

if TYPE_CHECKING:
    from hamdg.data.subset import Subset
    from tests.cohort.conftest import World


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def images_of(part: Subset) -> Tensor:
    ((images, _),) = part.parts(100)
    return images


def slow_measurement(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy and loss in loops, from their definitions."""
    wrong, losses = 0, []
    for row, label in zip(scores.double().tolist(), labels.tolist(), strict=True):
        wrong += row.index(max(row)) != label
        losses.append(math.log(sum(math.exp(score) for score in row)) - row[label])
    return 1 - wrong / len(losses), math.fsum(losses) / len(losses)


def test_accuracy_and_loss_are_those_of_one_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in one of several processes, of which it is the only one that measures.
    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    model, part = world.network(), world.hold_outs()["photo"]
    seen: list[int] = []
    model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    monkeypatch.setattr(validation, "CHUNK", 4)
    found = measured(model, part, to_float)

    assert seen == [4, 4, 3]
    with torch.no_grad():
        whole = model(to_float(images_of(part)))
    assert found == pytest.approx(slow_measurement(whole, part.labels), rel=1e-5)
    assert found.metric == float((whole.argmax(dim=1) == part.labels).double().mean())


@pytest.mark.parametrize("log_loss", [False, True])
def test_every_model_is_measured_on_its_own_hold_out_when_due(world: World, log_loss: bool) -> None:
    cohort, log = world.cohort({"art": ("art",), "rest": ("cartoon", "photo")}), Log()
    notes: list[tuple[str, int, float, float]] = []
    callback = SourceValidation(
        world.hold_outs(), to_float, every=4, steps=9, note=lambda *told: notes.append(told), log_loss=log_loss
    )
    cohort.train()
    for step in range(1, 10):
        trainer = SimpleNamespace(global_step=step, loggers=[log], precision_plugin=Precision(), is_global_zero=True)
        callback.on_train_batch_end(cast("Trainer", trainer), cohort, None, None, step - 1)

    def slow(model: str, domain: str) -> tuple[float, float]:
        part: Subset = world.hold_outs()[domain]
        with torch.no_grad():
            return slow_measurement(cohort.learners[model].result(to_float(images_of(part))), part.labels)

    cartoon, photo = slow("rest", "cartoon"), slow("rest", "photo")
    expected = {"art": slow("art", "art"), "rest": tuple((a + b) / 2 for a, b in zip(cartoon, photo, strict=True))}
    rows = {f"validation/accuracy/{name}": found[0] for name, found in expected.items()}
    if log_loss:
        rows |= {f"validation/loss/{name}": found[1] for name, found in expected.items()}
    assert [step for step, _ in log.rows] == [4, 8, 9]
    for _, row in log.rows:
        assert row == pytest.approx(rows, rel=1e-5)
    assert [(name, step) for name, step, _, _ in notes] == [(name, step) for step in (4, 8, 9) for name in expected]
    for name, _, share, loss in notes:
        assert (share, loss) == pytest.approx(expected[name], rel=1e-5)
    assert all(learner.training for learner in cohort.learners.values())


class Ending(Learner):
    """A learner that has seen enough from some step on."""

    enough = 4

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.losses: dict[int, float] = {}

    def validated(self, step: int, loss: float) -> bool:
        self.losses[step] = loss
        return step >= self.enough


@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
@pytest.mark.parametrize("second", [2, 5])
def test_learners_are_told_their_loss_and_training_ends_when_all_say_so(
    world: World, tmp_path: Path, second: int
) -> None:
    own = {name: Ending(world.network(), (name,), world.train) for name in ("art", "photo")}
    own["photo"].enough = second
    cohort, notes = Cohort(own), list[tuple[str, int, float, float]]()
    callback = SourceValidation(
        world.hold_outs(), to_float, every=1, steps=6, note=lambda *told: notes.append(told), log_loss=False
    )
    trainer = world.trainer([callback, ResumeCheckpoint(tmp_path / "resume.ckpt", every=1)])
    trainer.fit(cohort, train_dataloaders=world.loader())

    last = max(4, second)
    assert trainer.global_step == last
    for name, learner in own.items():
        assert learner.losses == {step: loss for source, step, _, loss in notes if source == name}
        assert list(learner.losses) == list(range(1, last + 1))
    # From the step that ends it, no killed run could go on.
    assert checkpoint_step(tmp_path / "resume.ckpt") == last - 1
