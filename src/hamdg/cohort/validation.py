"""Accuracy and loss of every source model on its own hold-out, while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.algorithms.ham.enrichment import cross_entropies
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.source_model import SourceModel
from hamdg.data.subset import Subset
from hamdg.tracking.rows import measure

CHUNK = 256


class Measurement(NamedTuple):
    """How a model does on a hold-out.

    Args:
        accuracy: The share of right predictions.
        loss: The mean cross-entropy.
    """

    accuracy: float
    loss: float


@torch.no_grad()
def predict(model: Callable[[Tensor], Tensor], images: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the predicted classes [n] of uint8 images [n, h, w, 3], in chunks that bound the memory."""
    return torch.cat([model(prepare(part)).argmax(dim=1) for part in torch.split(images, CHUNK)])


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions."""
    return float((predicted.cpu() == labels.cpu()).double().mean())


@torch.no_grad()
def measured(model: SourceModel, part: Subset, prepare: Callable[[Tensor], Tensor]) -> Measurement:
    """Return accuracy and loss on labeled images from one pass over them, in chunks that bound the memory."""
    predicted, losses = [], []
    for images, labels in part.parts(CHUNK):
        scores = model(prepare(images.to(model.device)))
        predicted.append(scores.argmax(dim=1))
        losses.append(cross_entropies(scores, labels.to(model.device)))
    return Measurement(accuracy(torch.cat(predicted), part.labels), float(torch.cat(losses).double().mean()))


class SourceValidation(Callback):
    """Measures each source model on its own hold-out every few steps, against the labels that a user would have.

    Args:
        parts: The hold-out of each source domain.
        prepare: Turns uint8 images into what the model eats, without augmentation.
        every: Steps between two measurements; the last step is always measured.
        steps: Number of training steps.
        note: Told (source, step, accuracy, loss) of every measurement.
        log_loss: Log the losses, too.
    """

    def __init__(
        self,
        parts: Mapping[str, Subset],
        prepare: Callable[[Tensor], Tensor],
        every: int,
        steps: int,
        note: Callable[[str, int, float, float], None],
        log_loss: bool = False,
    ) -> None:
        self.parts = parts
        self.prepare = prepare
        self.every = every
        self.steps = steps
        self.note = note
        self.log_loss = log_loss

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Measure, log and pass on accuracies and losses where a check is due; called after every batch."""
        step = trainer.global_step
        if (step % self.every and step != self.steps) or not isinstance(pl_module, Cohort):
            return
        found = {name: self._own_measurement(model) for name, model in pl_module.source_models().items()}
        for name, (share, loss) in found.items():
            self.note(name, step, share, loss)
        rows = {measure("validation/accuracy", name): share for name, (share, _) in found.items()}
        if self.log_loss:
            rows |= {measure("validation/loss", name): loss for name, (_, loss) in found.items()}
        for logger in trainer.loggers:
            logger.log_metrics(rows, step)

    def _own_measurement(self, model: SourceModel) -> Measurement:
        model.eval()
        parts = [measured(model, self.parts[domain], self.prepare) for domain in model.own]
        model.train()
        return Measurement(*(sum(values) / len(values) for values in zip(*parts, strict=True)))
