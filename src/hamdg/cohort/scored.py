"""The mean of a training's states, weighted by their validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor

from hamdg.merge.history import HistoryState, WeightedMean


class ScoredState(TypedDict):
    """What `ScoredMean` needs to go on after a restart."""

    mean: HistoryState
    newest: list[Tensor]


class ScoredMean:
    """Averages the states that were measured, each weighted by its accuracy."""

    def __init__(self) -> None:
        self._mean = WeightedMean()
        self._newest: list[Tensor] = []

    def update(self, tensors: Sequence[Tensor]) -> None:
        """Take a copy of the weights, which will be measured next."""
        self._newest = [tensor.detach().clone() for tensor in tensors]

    def validated(self, accuracy: float) -> None:
        """Take the newest weights into the mean, weighted by their accuracy; what is no number weighs nothing."""
        self._mean.weight = accuracy if math.isfinite(accuracy) else 0.0
        self._mean.update(self._newest)
        self._newest = []

    def value(self) -> list[Tensor]:
        """Return the mean; the newest weights where nothing was measured."""
        return self._mean.value() if self._mean.count else self._newest

    def state_dict(self) -> ScoredState:
        """Return all that is needed to go on, bit for bit, after `load_state_dict`."""
        return {"mean": self._mean.state_dict(), "newest": self._newest}

    def load_state_dict(self, state: ScoredState) -> None:
        """Go on from a saved state."""
        self._mean.load_state_dict(state["mean"])
        self._newest = state["newest"]
