"""Primary metric and loss of every learner on its own hold-out set, while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor
from torchmetrics import Metric

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.data.subset import Subset
from hamdg.models.network import Network
from hamdg.tasks.base import Task
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.tracking.interface import log_values
from hamdg.tracking.keys import MetricKey

CHUNK = 256


class HoldoutScore(NamedTuple):
    """How a model does on a hold-out set.

    Args:
        metric: The task's primary metric, such as the share of right predictions.
        loss: The mean loss.
    """

    metric: float
    loss: float


@torch.no_grad()
def measured(
    network: Network, part: Subset, prepare: Callable[[Tensor], Tensor], task: Task = CLASSIFICATION
) -> HoldoutScore:
    """Return primary metric and loss on labeled images from one pass over them, in chunks that bound the memory."""
    metric: Metric | None = None
    losses = []
    device = next(network.parameters()).device
    for images, labels in part.parts(CHUNK):
        scores, labels = network(prepare(images.to(device))), labels.to(device)
        losses.append(task.losses(scores, labels))
        if metric is None:
            metric = task.metrics(scores.shape[1])[task.primary].to(device)
            # Where several processes train together, one measures, and the others do not answer.
            metric.distributed_available_fn = _shares_metrics
        metric.update(scores, labels)
    assert metric is not None, "hold-out sets have images"
    return HoldoutScore(float(metric.compute()), float(torch.cat(losses).double().mean()))


def _shares_metrics() -> bool:
    return False


class SourceValidation(Callback):
    """Measures each learner on its own hold-out set every few steps, against the labels that a user would have.

    Learners are told their loss; when all of them say so, training ends.

    Args:
        parts: The hold-out set of each source domain.
        prepare: Turns uint8 images into what the networks take, without augmentation.
        every: Steps between two measurements; the last step is always measured.
        steps: Number of training steps.
        note: Called with (source, step, primary metric, loss) for every measurement.
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
        """Measure, log and pass on metrics and losses where a check is due; called after every batch."""
        step = trainer.global_step
        # One process looks at whole hold-out sets; the others wait for it in their next step.
        if not trainer.is_global_zero:
            return
        if (step % self.every and step != self.steps) or not isinstance(pl_module, Cohort):
            return
        # Learners of domains whose labels are withheld have no hold-out set.
        measurable = {name: one for name, one in pl_module.learners.items() if self.parts.keys() >= set(one.own)}
        # In the precision of training: in full precision the checks would take longer than the training on a GPU.
        with trainer.precision_plugin.forward_context():
            found = {name: self._score(learner) for name, learner in measurable.items()}
        for name, (value, loss) in found.items():
            self.note(name, step, value, loss)
        ended = [learner.validated(step, found[name].loss) for name, learner in measurable.items()]
        if all(ended) and len(ended) == len(pl_module.learners):
            trainer.should_stop = True
        values = {
            MetricKey(f"validation/{measurable[name].task.primary}", name): value for name, (value, _) in found.items()
        }
        if self.log_loss:
            values |= {MetricKey("validation/loss", name): loss for name, (_, loss) in found.items()}
        log_values(trainer.loggers, values, step)

    def _score(self, learner: Learner) -> HoldoutScore:
        learner.eval()
        parts = [measured(learner.result, self.parts[domain], self.prepare, learner.task) for domain in learner.own]
        learner.train()
        return HoldoutScore(*(sum(values) / len(values) for values in zip(*parts, strict=True)))
