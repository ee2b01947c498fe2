"""Labeled images that models are tested on, read a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from hamdg.data.domain import Domain
from hamdg.data.images import Images
from hamdg.data.parallel import Ahead
from hamdg.data.splits import Indices


@dataclass(frozen=True)
class Subset:
    """Some images of a domain, not augmented.

    Args:
        images: The domain's images.
        positions: Which of them.
        labels: Their classes, int64 `[n]`, or maps of them, uint8 `[n, h, w]`.
    """

    images: Images
    positions: Indices
    labels: Tensor

    def first(self, count: int | None) -> Subset:
        """Return the first images, in the random order of the split; `None` for all."""
        return self if count is None else Subset(self.images, self.positions[:count], self.labels[:count])

    def prepare(self) -> None:
        """Decode all images."""
        self.images.prepare(self.positions)

    def parts(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images as `Images.read` gives them, and their labels, at most `size` at a time.

        Files are decoded for the next parts while one is being used.
        """
        starts = range(0, len(self.positions), size)
        if not self.images.decodes:
            for start in starts:
                yield self._part(start, size)
            return
        with closing(Ahead(lambda start: self._part(start, size))) as ahead:
            for index, start in enumerate(starts):
                yield ahead.take(start, starts[index + 1 :])

    def _part(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        images = self.images.read(self.positions[start : start + size])
        # The sizes of images that are evaluated are all the same.
        assert isinstance(images, Tensor)
        return images, self.labels[start : start + size]


def holdout(domain: Domain, positions: Indices) -> Subset:
    """Return the images of a domain at some positions, with the labels that a user has."""
    return Subset(domain.evaluation, positions, torch.from_numpy(domain.labels[positions]))
