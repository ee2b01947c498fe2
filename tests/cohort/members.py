"""What processes do together in tests: functions that another process can import, and that write what they found."""

from __future__ import annotations

import copy
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.coupling import Coupling
from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.learner import Learner, Loss
from hamdg.cohort.peers import Measured, Peers, Reduction
from hamdg.cohort.place import Place
from hamdg.cohort.strategy import Placed
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.batches import Batch, Labels, Share
from hamdg.errors import TrainingError
from hamdg.models.network import Network
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


def everything(peers: Peers) -> object:
    """Do both, in one start of the processes."""
    return sums_and_objects(peers), reduce(peers)


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


class Small(Network):
    """A network of a few numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 4)
        # Nothing uses it: a wrapper that waits for its gradient would wait forever.
        self.unused = nn.Parameter(torch.ones(2))

    def features(self, images: Tensor) -> Tensor:
        return self.convolution(images).relu().mean(dim=(2, 3))  # type: ignore[no-any-return]

    def scores(self, features: Tensor) -> Tensor:
        return self.head(features)  # type: ignore[no-any-return]


class Drawing(Learner):
    """Notes the first random number of every step."""

    drawn: tuple[float, ...] = ()

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        self.drawn += (float(torch.rand(())),)
        return super().loss(batches, step)


class Halves(Coupling):
    """Mixes the gradients of all learners."""

    def before_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Mapping[MetricKey, Tensor]:
        for same in zip(*(learner.network.trainable().values() for learner in learners.values()), strict=True):
            gradients = [parameter.grad for parameter in same if parameter.grad is not None]
            mean = torch.stack(gradients).mean(dim=0) if gradients else None
            for parameter in same:
                parameter.grad = None if mean is None or parameter.grad is None else (parameter.grad + mean) / 2
        return {}


DOMAINS = ("art", "photo")


class Batches:
    """Gives one process its part of every batch.

    Args:
        share: Which part.
    """

    def __init__(self, share: Share) -> None:
        self.share = share

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[tuple[int, dict[str, Batch]]]:
        size = 7
        own = self.share.of(size)
        for step in range(len(self)):
            draws = torch.Generator().manual_seed(step)
            images = {name: torch.randn(size, 3, 8, 8, generator=draws)[own] for name in DOMAINS}
            labels = torch.randint(0, 4, (size,), generator=draws)[own]
            given = Labels(labels, labels)
            yield step, {name: Batch(one, torch.arange(len(one)), given) for name, one in images.items()}


@dataclass(frozen=True)
class Trained:
    """Trains a cohort, or one learner, in a Trainer as a stranger makes it; writes what the learners drew.

    Args:
        folder: Where each process writes, in a folder of its own.
        alone: Train one learner without a cohort.
        accumulate: Into how many parts each process splits its part of a batch.
    """

    folder: Path
    alone: bool = False
    accumulate: int = 1

    def __call__(self, place: Place) -> None:
        torch.manual_seed(3)
        network = Small()
        config = TrainConfig(steps=4, lr=1e-2, warmup=1, weight_decay=0.1)
        learners = {name: Drawing(copy.deepcopy(network), (name,), config) for name in DOMAINS}
        several = {"devices": place.world, "strategy": DDPStrategy(cluster_environment=Placed(place))}
        if self.alone:  # of automatic optimization, the wrapper wants to know this
            several["strategy"] = DDPStrategy(cluster_environment=Placed(place), find_unused_parameters=True)
        trainer = Trainer(
            max_steps=4,
            accelerator="cpu",
            logger=False,
            callbacks=[CheckpointHistory(self.folder / f"history-{place.rank}", HistoryConfig(every=1))],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            **(several if place.world > 1 else {"devices": 1}),
        )
        module = learners["art"] if self.alone else Cohort(learners, [Halves()], accumulate=self.accumulate)
        trainer.fit(module, Batches(Share(place.rank, place.world)))
        latest = module.latest if isinstance(module, Cohort) else {}
        torch.save((learners["art"].drawn, latest), self.folder / f"{place.rank}.pt")
