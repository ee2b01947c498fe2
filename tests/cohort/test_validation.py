from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from hamdg.cohort import validation
from hamdg.cohort.validation import SourceValidation, accuracy, predict
from hamdg.data.augment import to_float
from hamdg.data.batches import Batch, take

if TYPE_CHECKING:
    from tests.cohort.conftest import World


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def parts(world: World) -> dict[str, Batch]:
    return {name: take(arrays, torch.arange(2, 13).numpy()) for name, arrays in world.domains().items()}


def test_predictions_do_not_depend_on_the_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = world.model(("photo",)), parts(world)["photo"].images
    whole = predict(model, images, to_float)
    monkeypatch.setattr(validation, "CHUNK", 4)

    assert torch.equal(predict(model, images, to_float), whole)
    assert torch.equal(whole, model(to_float(images)).argmax(dim=1))


def test_accuracy_by_hand() -> None:
    assert accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])) == 0.75


def test_every_model_is_measured_on_its_own_hold_out_when_due(world: World) -> None:
    cohort, log = world.cohort({"art": ("art",), "rest": ("cartoon", "photo")}), Log()
    notes: list[tuple[str, int, float]] = []
    callback = SourceValidation(
        parts(world), to_float, every=4, steps=9, note=lambda name, step, value: notes.append((name, step, value))
    )
    cohort.train()
    for step in range(1, 10):
        trainer = SimpleNamespace(global_step=step, loggers=[log])
        callback.on_train_batch_end(cast("Trainer", trainer), cohort, None, None, step - 1)

    def right(model: str, domain: str) -> float:
        part: Batch = parts(world)[domain]
        scores: Tensor = cohort.source_models()[model](to_float(part.images))
        wrong = sum(int(row.argmax()) != int(label) for row, label in zip(scores, part.labels, strict=True))
        return 1 - wrong / len(part.labels)

    expected = {"art": right("art", "art"), "rest": (right("rest", "cartoon") + right("rest", "photo")) / 2}
    assert [step for step, _ in log.rows] == [4, 8, 9]
    for _, row in log.rows:
        assert row == pytest.approx({f"validation/accuracy{{{name}}}": value for name, value in expected.items()})
    assert [(name, step) for name, step, _ in notes] == [(name, step) for step in (4, 8, 9) for name in expected]
    assert all(model.training for model in cohort.source_models().values())
