"""The state of a training with the best validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor


class BestState(TypedDict):
    """What `Best` needs to go on after a restart."""

    accuracy: float
    step: int
    best: list[Tensor]
    newest: list[Tensor]


class Best:
    """Keeps the weights with the highest accuracy so far; of equally good ones the first.

    Attributes:
        accuracy: Their accuracy; minus infinity where nothing was measured, or no accuracy was a number.
        step: The step that they are of; 0 likewise.
    """

    def __init__(self) -> None:
        self.accuracy = -math.inf
        self.step = 0
        self._best: list[Tensor] = []
        self._newest: list[Tensor] = []

    def update(self, tensors: Sequence[Tensor]) -> None:
        """Take a copy of the weights, which will be measured next."""
        self._newest = [tensor.detach().clone() for tensor in tensors]

    def validated(self, step: int, accuracy: float) -> None:
        """Keep the newest weights, measured after `step`, if none before were as good."""
        if accuracy > self.accuracy:
            self.accuracy, self.step, self._best = accuracy, step, self._newest
        if self._best:
            self._newest = []

    def value(self) -> list[Tensor]:
        """Return the weights; the newest where none are known to be good."""
        return self._best or self._newest

    def state_dict(self) -> BestState:
        """Return all that is needed to go on, bit for bit, after `load_state_dict`."""
        return {"accuracy": self.accuracy, "step": self.step, "best": self._best, "newest": self._newest}

    def load_state_dict(self, state: BestState) -> None:
        """Go on from a saved state."""
        self.accuracy, self.step = state["accuracy"], state["step"]
        self._best, self._newest = state["best"], state["newest"]
