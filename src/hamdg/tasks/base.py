"""What a task is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torchmetrics import MetricCollection


class Task(Protocol):
    """A loss and metrics for a kind of label.

    Attributes:
        name: What the task is called.
        primary: The metric that tables show and models are selected by; one of those in `metrics`.
        per_class: The same with a value for every class.
    """

    name: str
    primary: str
    per_class: str

    def losses(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label, flat and in float32.

        Args:
            scores: What the network returns, `[n, classes, ...]`.
            labels: Classes, `[n, ...]`; those that are ignored have no loss.
        """
        ...

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of scores against labels.

        Args:
            scores: What the network returns, `[n, classes, ...]`; half precision is raised to float32.
            labels: Classes, `[n, ...]`.
        """
        ...

    def metrics(self, classes: int) -> MetricCollection:
        """Return fresh metrics, which are updated with scores and labels; values are scalars, or one value a class."""
        ...
