"""The batch of every step, a pure function of (seed, step, domain): a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.data.activations import Activations
from hamdg.data.domain import Domain, UnlabeledDomain
from hamdg.data.parallel import Ahead
from hamdg.data.splits import Indices
from hamdg.errors import ConfigError


class Labels(NamedTuple):
    """What a domain's samples are labeled as: with a class [n], or with maps of them [n, h, w].

    Args:
        noisy: Labels as training sees them; some may be wrong.
        clean: The true labels, which only tell how many are wrong.
    """

    noisy: Tensor
    clean: Tensor


class RawBatch(NamedTuple):
    """Samples of one domain as they lie on the disk, and what `Batch` has.

    Args:
        images: uint8 images [n, h, w, 3], a list of them if they have many sizes; or float16 activations [n, c, h, w].
        positions: As of `Batch`.
        given: As of `Batch`.
    """

    images: Tensor | list[Tensor]
    positions: Tensor
    given: Labels | None = None


class Batch(NamedTuple):
    """Samples of one domain.

    Args:
        images: Normalized images [n, 3, h, w], or what frozen layers give for them [n, c, h', w'].
        positions: Where the samples lie in their domain [n].
        given: Their labels, where the step may read them.
    """

    images: Tensor
    positions: Tensor
    given: Labels | None = None

    @property
    def labels(self) -> Tensor:
        """The labels [n], or maps of them [n, h, w], as training sees them.

        Raises:
            ConfigError: The step reads the domain without its labels.
        """
        return self._labels.noisy

    @property
    def clean_labels(self) -> Tensor:
        """The true labels; raises as `labels`."""
        return self._labels.clean

    @property
    def _labels(self) -> Labels:
        if self.given is None:
            raise ConfigError("This batch has no labels: the step reads its domain without them; use its images alone.")
        return self.given


@dataclass(frozen=True)
class Share:
    """Which part of every batch one of several processes takes; parts differ by one sample at most.

    Args:
        index: The process, from 0.
        count: How many processes there are.
    """

    index: int = 0
    count: int = 1

    def of(self, size: int) -> slice:
        """Return which samples of a batch of `size` it takes; all processes together take each sample once."""
        return slice(self.index * size // self.count, (self.index + 1) * size // self.count)


WHOLE = Share()
# Tells draws of views from those of the order.
_VIEWS = 1


def concatenate(batches: list[Batch]) -> Batch:
    """Put batches behind one another; a single one is returned as it is."""
    if len(batches) == 1:
        return batches[0]
    images, positions = (torch.cat(parts) for parts in zip(*(batch[:2] for batch in batches), strict=True))
    given = [batch.given for batch in batches if batch.given is not None]
    labeled = len(given) == len(batches)
    return Batch(images, positions, Labels(*map(torch.cat, zip(*given, strict=True))) if labeled else None)


def pinned(batch: RawBatch) -> RawBatch:
    """Return a batch in memory that a GPU can read by itself."""
    images = batch.images
    moved = images.pin_memory() if isinstance(images, Tensor) else [image.pin_memory() for image in images]
    given = None if batch.given is None else Labels(*(values.pin_memory() for values in batch.given))
    return RawBatch(moved, batch.positions.pin_memory(), given)


def take(domain: Domain, positions: NDArray[np.int64], images: Tensor | None = None) -> RawBatch:
    """Read the samples at `positions` for training; those of a domain whose labels are withheld have none.

    Args:
        domain: The domain.
        positions: Where they lie in it.
        images: What stands for their images, such as activations; by default they are read.
    """
    labels = None
    if not isinstance(domain, UnlabeledDomain):
        noisy = torch.from_numpy(domain.labels[positions])
        same = domain.clean_labels is domain.labels
        labels = Labels(noisy, noisy if same else torch.from_numpy(domain.clean_labels[positions]))
    found = domain.training.read(positions) if images is None else images
    return RawBatch(found, torch.from_numpy(np.asarray(positions)), labels)


def sample_positions(pool: Indices, size: int, step: int, seed: int, domain_index: int) -> Indices:
    """Return the members of `pool` that step number `step` sees.

    The pool is gone through in a new order again and again; the order of pass k depends on (seed, domain, k) alone.
    """
    first = step * size
    picks = [
        _order(len(pool), seed, domain_index, passed)[
            max(first - passed * len(pool), 0) : first + size - passed * len(pool)
        ]
        for passed in range(first // len(pool), (first + size - 1) // len(pool) + 1)
    ]
    return pool[np.concatenate(picks)]


def sample_views(views: int, size: int, step: int, seed: int, domain_index: int) -> Indices:
    """Return in which of so many views each sample of step number `step` is seen, drawn at random."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, domain_index, step, _VIEWS])))
    return rng.integers(views, size=size, dtype=np.int64)


@lru_cache(maxsize=32)
def _order(count: int, seed: int, domain_index: int, passed: int) -> Indices:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, domain_index, passed])))
    return rng.permutation(count).astype(np.int64)


class StepLoader:
    """Gives each step's batches by domain; resumable in the middle (Lightning saves its `state_dict`).

    Args:
        domains: Images and labels by source domain.
        pools: Positions that training may use, by source domain.
        order: Each source domain's position among the benchmark's domains.
        batch_size: Samples per domain and step.
        steps: How many steps there are.
        seed: The run's seed.
        pin: Put batches into memory that a GPU reads while it computes, and read the next ones meanwhile.
        share: Which part of every batch is given, where several processes train together.
        activations: What stands for the images of a domain.
        views: How many views these have.
    """

    def __init__(
        self,
        domains: Mapping[str, Domain],
        pools: Mapping[str, Indices],
        order: Mapping[str, int],
        batch_size: int,
        steps: int,
        seed: int,
        pin: bool = False,
        share: Share = WHOLE,
        activations: Mapping[str, Activations] = MappingProxyType({}),
        views: int = 0,
    ) -> None:
        for name, pool in pools.items():
            if batch_size > len(pool):
                raise ConfigError(
                    f"`data.batch_size` is {batch_size}, but domain `{name}` has only {len(pool)} training images; "
                    f"use at most {min(len(p) for p in pools.values())}."
                )
        self.domains = domains
        self.pools = pools
        self.order = order
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.pin = pin
        self.share = share
        self.activations = activations
        self.views = views
        self._next = 0
        self._ahead = Ahead(self._ready)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[int, dict[str, RawBatch]]]:
        decoded = (self.domains[name] for name in self.domains if name not in self.activations)
        ahead = self.pin or any(domain.training.decodes for domain in decoded)
        while self._next < self.steps:
            step = self._next
            self._next += 1
            # Files are decoded for the next steps while one is being used.
            yield step, self._ahead.take(step, range(step + 1, self.steps)) if ahead else self.batches(step)
        self._next = 0

    def close(self) -> None:
        """End the threads that decode files, where the steps were left before the last one."""
        self._ahead.close()

    def batches(self, step: int) -> dict[str, RawBatch]:
        """Return the batches of one step, by domain; of several processes' batches this one's part."""
        return {name: self._batch(name, step) for name in self.domains}

    def _batch(self, name: str, step: int) -> RawBatch:
        positions, found = self._positions(name, step), self.activations.get(name)
        if found is None:
            return take(self.domains[name], positions)
        views = sample_views(self.views, self.batch_size, step, self.seed, self.order[name])
        return take(self.domains[name], positions, found.read(positions, views[self.share.of(self.batch_size)]))

    def _positions(self, name: str, step: int) -> Indices:
        whole = sample_positions(self.pools[name], self.batch_size, step, self.seed, self.order[name])
        return whole[self.share.of(self.batch_size)]

    def _ready(self, step: int) -> dict[str, RawBatch]:
        found = self.batches(step)
        return {name: pinned(batch) for name, batch in found.items()} if self.pin else found

    def state_dict(self) -> dict[str, int]:
        """Return which step comes next."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on at the step that `state` names."""
        self._next = state["next"]
