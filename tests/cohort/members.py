"""What processes do together in tests: functions that another process can import, and that write what they found."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hamdg.cohort.peers import Measured, Peers, Reduction
from hamdg.cohort.strategy import Place
from hamdg.errors import TrainingError
from hamdg.tracking.keys import MetricKey

LOSS, SEEN, THRESHOLD = MetricKey("loss", "art"), MetricKey("seen", "art"), MetricKey("threshold", "art")


@dataclass(frozen=True)
class Written:
    """Has every process do the same, and write what it found to a file of its own.

    Args:
        work: What to do.
        folder: Where the files go.
    """

    work: Callable[[Peers], object]
    folder: Path

    def __call__(self, place: Place) -> None:
        torch.save(self.work(Peers(place.rank, place.world)), self.folder / f"{place.rank}.pt")

    def read(self, rank: int) -> Any:
        return torch.load(self.folder / f"{rank}.pt", weights_only=False)


def sums_and_objects(peers: Peers) -> object:
    """Add up tensors and collect objects."""
    own = torch.tensor([float(peers.index + 1), 10.0])
    return peers.total(own), own, peers.everyone({"name": f"process {peers.index}"})


def reduce(peers: Peers) -> object:
    """Average gradients of (2, 3) samples; the second one is used by one process, the third by none."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
    parameters[0].grad = torch.tensor([1.0, 2.0]) if peers.index == 0 else torch.tensor([6.0, -3.0])
    if peers.index == 1:
        parameters[1].grad = torch.tensor([5.0])
    weight = 2.0 if peers.index == 0 else 3.0
    reduction, found = Reduction(parameters), []
    for _ in range(2):
        reduction.start(
            Measured(
                weight, {LOSS: torch.tensor(weight), THRESHOLD: torch.tensor(0.5)}, {SEEN: torch.tensor(int(weight))}
            )
        )
        measured = reduction.finish()
        found.append(
            {key: float(value) for key, value in measured.values().items()} | {"weight": float(measured.weight)}
        )
    gradients: list[Tensor | None] = [parameter.grad for parameter in parameters]
    return found, gradients


def complain(place: Place) -> None:
    """Fail in the second process, while the others wait for it."""
    if place.rank == 1:
        raise TrainingError("the second process has had enough.")
    torch.distributed.barrier()


def break_down(place: Place) -> None:
    """Fail in the second process as a bug would, with an error that cannot be pickled."""
    if place.rank == 1:

        class LocalError(Exception):
            pass

        raise LocalError("a bug")
    torch.distributed.barrier()


def die(place: Place) -> None:
    """Be killed in the second process."""
    if place.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


def leave(place: Place) -> None:
    """Leave without a word in the second process."""
    if place.rank == 1:
        os._exit(7)
    torch.distributed.barrier()


def sleep(place: Place) -> None:
    """Take longer than any test does."""
    time.sleep(600)
