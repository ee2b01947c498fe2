"""What several processes that train together tell each other: sums of tensors, and above all of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn

from hamdg.tracking.keys import MetricKey

T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """The processes that train together, each on a part of every batch.

    All of them must call the same methods in the same order.

    Args:
        index: Which of them this one is, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of every process's tensor; with one process the tensor itself."""
        if self.count == 1:
            return values
        result = values.clone()
        distributed.all_reduce(result)
        return result

    def everyone(self, value: T) -> list[T]:
        """Return what every process has given, in their order."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found  # type: ignore[return-value]


ALONE = Peers()


class Measured(NamedTuple):
    """What a learner measured in a step, so that it can be put together with the same of other samples.

    Args:
        weight: Of how many samples the means are.
        means: Means over samples (0-d).
        counts: Numbers of samples (0-d).
    """

    weight: Tensor | float
    means: Mapping[MetricKey, Tensor]
    counts: Mapping[MetricKey, Tensor]

    def values(self) -> dict[MetricKey, Tensor]:
        """Return all of it by key."""
        return {**self.means, **self.counts}

    def numbers(self, like: Tensor) -> Tensor:
        """Return it as sums, which can be added up: the weight, each mean times it, and the counts."""
        weight = torch.as_tensor(self.weight).to(like)
        sums = [value.to(like) * weight for value in self.means.values()]
        return torch.stack([weight, *sums, *(value.to(like) for value in self.counts.values())])

    def restored(self, numbers: Tensor) -> Measured:
        """Return what sums of such numbers say."""
        weight, *others = numbers.unbind()
        means = {key: value / weight for key, value in zip(self.means, others, strict=False)}
        counts = dict(zip(self.counts, others[len(means) :], strict=True))
        return Measured(weight, means, counts)


def together(parts: Sequence[Measured]) -> Measured:
    """Return what was measured on all parts of a batch."""
    if len(parts) == 1:
        return parts[0]
    like = next(iter(parts[0].means.values())).float()
    return parts[0].restored(torch.stack([part.numbers(like) for part in parts]).sum(dim=0))


class Reduction:
    """Averages the gradients of a learner over all processes, and what it measured, in one message.

    Each process's gradients count by the number of samples that they are the mean of, so that the result is the
    gradient of the whole batch, however it is divided. While the message is on its way, the next learner computes.

    Args:
        parameters: The learner's parameters.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.size = sum(parameter.numel() for parameter in parameters)
        self._room = torch.empty(0)
        self._views: list[Tensor] = []
        self._measured = Measured(0.0, {}, {})
        self._work: distributed.Work | None = None

    def start(self, measured: Measured) -> None:
        """Send gradients and measurements, and do not wait for what comes back."""
        self._measured = measured
        used = [parameter.grad is not None for parameter in self.parameters]
        self._prepare(len(used) + len(measured.means) + len(measured.counts) + 1)
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        torch._foreach_copy_(self._views, gradients)
        self._room[: self.size].mul_(torch.as_tensor(measured.weight).to(self._room))
        flags = torch.tensor(used).to(self._room)
        self._room[self.size :] = torch.cat([flags, measured.numbers(self._room.new_empty(()))])
        self._work = distributed.all_reduce(self._room, async_op=True)

    def finish(self) -> Measured:
        """Wait for it, put the averages into the parameters, and return what all processes have measured."""
        assert self._work is not None, "`start` comes first"
        self._work.wait()
        # A copy: what was measured is looked at some steps later, when the room holds others.
        flags, numbers = self._room[self.size :].clone().tensor_split([len(self.parameters)])
        result = self._measured.restored(numbers)
        self._room[: self.size].div_(result.weight)
        pairs = list(zip(self.parameters, self._views, strict=True))
        torch._foreach_copy_(
            [p.grad for p, _ in pairs if p.grad is not None], [v for p, v in pairs if p.grad is not None]
        )
        for number, (parameter, view) in enumerate(pairs):
            # A parameter that no process used stays without gradient, as AdamW passes over it then.
            if parameter.grad is None and flags[number] > 0:
                parameter.grad = view.to(parameter.dtype, copy=True)
        return result

    def _prepare(self, others: int) -> None:
        """Make room for all numbers; the memory is used again at every step."""
        like = self.parameters[0]
        dtype = torch.promote_types(like.dtype, torch.float32)
        if self._room.numel() == self.size + others and self._room.device == like.device:
            return
        self._room = torch.empty(self.size + others, dtype=dtype, device=like.device)
        pieces = torch.split(self._room[: self.size], [parameter.numel() for parameter in self.parameters])
        self._views = [piece.view_as(p) for piece, p in zip(pieces, self.parameters, strict=True)]
