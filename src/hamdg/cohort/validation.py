"""Accuracy of every source model on its own hold-out, while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.source_model import SourceModel
from hamdg.data.batches import Batch
from hamdg.tracking.rows import measure

CHUNK = 256


@torch.no_grad()
def predict(model: Callable[[Tensor], Tensor], images: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the predicted classes [n] of uint8 pictures [n, h, w, 3], in chunks that bound the memory."""
    return torch.cat([model(prepare(part)).argmax(dim=1) for part in torch.split(images, CHUNK)])


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions."""
    return float((predicted.cpu() == labels.cpu()).double().mean())


class SourceValidation(Callback):
    """Measures each source model on its own hold-out every few steps, against the labels that a user would have.

    Args:
        parts: The hold-out of each source domain.
        prepare: Turns uint8 pictures into what the model eats, without augmentation.
        every: Steps between two measurements; the last step is always measured.
        steps: Number of training steps.
        note: Told (source, step, accuracy) of every measurement.
    """

    def __init__(
        self,
        parts: Mapping[str, Batch],
        prepare: Callable[[Tensor], Tensor],
        every: int,
        steps: int,
        note: Callable[[str, int, float], None],
    ) -> None:
        self.parts = parts
        self.prepare = prepare
        self.every = every
        self.steps = steps
        self.note = note

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Measure, log and pass on the accuracies where a check is due; called after every batch."""
        step = trainer.global_step
        if (step % self.every and step != self.steps) or not isinstance(pl_module, Cohort):
            return
        values = {name: self._own_accuracy(model) for name, model in pl_module.source_models().items()}
        for name, value in values.items():
            self.note(name, step, value)
        for logger in trainer.loggers:
            logger.log_metrics({measure("validation/accuracy", name): value for name, value in values.items()}, step)

    def _own_accuracy(self, model: SourceModel) -> float:
        model.eval()
        right = [
            accuracy(
                predict(model, self.parts[domain].images.to(model.device), self.prepare), self.parts[domain].labels
            )
            for domain in model.own
        ]
        model.train()
        return sum(right) / len(right)
