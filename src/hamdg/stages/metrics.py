"""All metrics of one model on one target: on the whole of it, and on its two parts."""

from __future__ import annotations

import math

from torch import Tensor, zeros
from torch import bool as boolean

from hamdg.runs.record import Metrics
from hamdg.tasks.base import Task


class TargetMetrics:
    """A task's metrics of one model, taken in batch by batch.

    Args:
        task: The task.
        classes: Number of classes.
        images: Number of images of the target.
        inside: Positions of DomainBed's 80 % part; all others are the 20 % part.
    """

    def __init__(self, task: Task, classes: int, images: int, inside: Tensor) -> None:
        self.task = task
        self.images = images
        self.inside = zeros(images, dtype=boolean)
        self.inside[inside] = True
        self.whole = task.metrics(classes)
        # Of the parts, tables show the primary metric only.
        self.parts = {name: self.whole[task.primary].clone() for name in ("in80", "in20")}

    def update(self, scores: Tensor, labels: Tensor, start: int) -> None:
        """Take in a batch: scores, labels, and the position of its first image in the target."""
        scores, labels = scores.cpu(), labels.cpu()
        self.whole.update(scores, labels)
        inside = self.inside[start : start + len(labels)]
        for name, chosen in (("in80", inside), ("in20", ~inside)):
            if chosen.any():
                self.parts[name].update(scores[chosen], labels[chosen])

    def compute(self) -> Metrics:
        """Return every metric by name; `None` where there was nothing to measure."""
        found: Metrics = {name: _plain(value) for name, value in self.whole.compute().items()}
        for name, metric in self.parts.items():
            found[f"{self.task.primary}_{name}"] = _plain(metric.compute()) if metric.update_called else None
        return found | {"images": self.images}


def _plain(value: Tensor) -> float | list[float | None] | None:
    if value.ndim:
        return [_known(one) for one in value.tolist()]
    return _known(float(value))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
