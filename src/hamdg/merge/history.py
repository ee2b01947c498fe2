"""Averages over a training trajectory that cost one pass over the weights per update and store one copy of them.

All of them accumulate in fp32 (fp64 for fp64 inputs), whatever the dtype of the weights. Half precision would be wrong:
after n updates a running mean moves by 1/n of a difference that is itself about a fine-tuning step, 1e-5 or so; bf16
resolves 4e-3 of a value and fp16 5e-4, so that most updates would round to nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from hamdg.errors import ConfigError, unexpected


def steps_before(start: float, steps: int) -> int:
    """Return how many of all steps lie before a fraction of them, rounded down."""
    # 0.29 * 100 is a little below 29 in floating point.
    return math.floor(start * steps + 1e-9)


class HistoryState(TypedDict):
    """What an average needs to go on after a restart."""

    count: int
    mass: float
    average: list[Tensor]


class Average(ABC):
    """A weighted mean of all tensors seen so far, updated in place.

    Subclasses decide one thing: the share of the newest tensors in the mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mass = 0.0
        self._average: list[Tensor] = []

    @abstractmethod
    def _share(self) -> float:
        """Return the newest tensors' share in the mean; called once per update, with `count` updates before it."""

    @torch.no_grad()
    def update(self, tensors: Sequence[Tensor]) -> None:
        """Take one more state of the weights into the average; the tensors themselves are not kept.

        Args:
            tensors: Floating-point tensors, every time as many, in the same order and of the same shapes.

        Raises:
            ConfigError: The tensors do not match those of the first update, or one is not floating-point.
        """
        wide = [_widened(tensor) for tensor in tensors]
        if self.count == 0:
            self._share()
            self._average = [tensor.clone() for tensor in wide]
        else:
            self._check(wide)
            # A restored average lies wherever the checkpoint was loaded to.
            self._average = [mean.to(new.device) for mean, new in zip(self._average, wide, strict=True)]
            torch._foreach_lerp_(self._average, wide, self._share())
        self.count += 1

    def value(self) -> list[Tensor]:
        """Return a copy of the average.

        Raises:
            ConfigError: There was no update yet.
        """
        if self.count == 0:
            raise ConfigError("The history is empty; call `update` before `value`.")
        return [tensor.clone() for tensor in self._average]

    def state_dict(self) -> HistoryState:
        """Return all that is needed to go on, bit for bit, after `load_state_dict`."""
        return {"count": self.count, "mass": self._mass, "average": [tensor.clone() for tensor in self._average]}

    def load_state_dict(self, state: HistoryState) -> None:
        """Go on from a saved state."""
        self.count = state["count"]
        self._mass = state["mass"]
        self._average = [tensor.clone() for tensor in state["average"]]

    def _check(self, tensors: Sequence[Tensor]) -> None:
        known, given = [t.shape for t in self._average], [t.shape for t in tensors]
        if known != given:
            raise ConfigError(f"Expected {_shapes(known)} as in the first update, but got {_shapes(given)}.")


class RunningMean(Average):
    """The plain mean of all updates (SWA, SMA)."""

    def _share(self) -> float:
        return 1 / (self.count + 1)

    @torch.no_grad()
    def join(self, other: RunningMean) -> RunningMean:
        """Take in all updates of another mean, and return this one."""
        if self.count == 0:
            self.load_state_dict(other.state_dict())
        elif other.count:
            self._check(other._average)
            self._average = [mean.to(new.device) for mean, new in zip(self._average, other._average, strict=True)]
            torch._foreach_lerp_(self._average, other._average, other.count / (self.count + other.count))
            self.count += other.count
        return self


class Ema(Average):
    """Exponential moving average m <- decay m + (1 - decay) w; the first update copies.

    Args:
        decay: Share of the old average, from 0 (keeps the last state only) to 1 (keeps the first state only).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise unexpected("decay", "between 0 and 1", decay)
        self.decay = decay

    def _share(self) -> float:
        return 1 - self.decay


class BetaAverage(Average):
    """CLIPood's Beta moving average: update t of `total` weighs as the density of Beta(b, b) at (t + 0.5) / total.

    With b = 0.5 both ends of the trajectory weigh most. In https://arxiv.org/abs/2302.00864 the first update is the
    pretrained model, so that `total` is the number of optimizer steps plus one.

    Args:
        total: How many updates there will be, at most.
        beta: Both shape parameters of the density.
    """

    def __init__(self, total: int, beta: float) -> None:
        super().__init__()
        if total < 1:
            raise unexpected("total", "at least 1", total)
        if not (math.isfinite(beta) and beta > 0):
            raise unexpected("beta", "above 0", beta)
        self.total = total
        self.beta = beta

    def _share(self) -> float:
        if self.count >= self.total:
            raise ConfigError(f"Expected at most {self.total} updates, but got one more; give `total` the true number.")
        weight = self._density((self.count + 0.5) / self.total)
        self._mass += weight
        return weight / self._mass if self._mass > 0 else 1.0

    def _density(self, x: float) -> float:
        # Relative to the density at 1/2: a common factor cancels in the mean, and large shape parameters stay in range.
        return math.exp((self.beta - 1) * math.log(4 * x * (1 - x)))


class LinearAverage(Average):
    """A mean in which late states weigh more: the n-th update weighs n.

    It is polynomial-decay averaging (https://arxiv.org/abs/1212.1824) with eta = 1.
    """

    def _share(self) -> float:
        return 2 / (self.count + 2)


class WeightedMean(Average):
    """A mean whose updates come with their weights.

    Attributes:
        weight: That of the next update, 0 or more. While all are 0, the mean is the newest update.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = 1.0

    def _share(self) -> float:
        self._mass += self.weight
        return self.weight / self._mass if self._mass > 0 else 1.0


def folded(average: Average, states: Iterable[Tensor]) -> Tensor:
    """Return the average of one tensor's states, taken in one after the other."""
    for state in states:
        average.update([state])
    return average.value()[0]


def shares_of(average: Average, states: int) -> list[float]:
    """Return how much of each of a number of states is in an average of them, taken in one after the other."""
    found: list[float] = folded(average, torch.eye(states, dtype=torch.float64)).tolist()
    return found


def _widened(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise ConfigError(f"Expected floating-point tensors, but got one of `{tensor.dtype}`; leave counters out.")
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def _shapes(shapes: Sequence[torch.Size]) -> str:
    return f"{len(shapes)} tensors of shapes {[tuple(shape) for shape in shapes]}"
