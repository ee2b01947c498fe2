"""Images by position: from an array, or decoded from files each time they are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.data.listing import Listing
from hamdg.data.parallel import Pixels, Rendered, render_each, unreadable
from hamdg.data.transforms import View

Positions = NDArray[np.int64]


class Images(Protocol):
    """The images of one domain as one view of them shows them."""

    @property
    def decodes(self) -> bool:
        """Return whether reading decodes files, so that it is worth doing ahead."""

    def __len__(self) -> int:
        """Return how many there are."""

    def prepare(self, positions: Positions) -> None:
        """Do now what would make the first reading of these images slow."""

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return the disk that `prepare` would take; where that differs, judged by some of the images.

        Args:
            positions: Which images.
            unopened: Judge by the sizes of files alone.
        """

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return images, uint8: `[n, h, w, 3]` if all have one size, a list of `[h, w, 3]` if they need not.

        What frozen layers give for images, float16 `[n, c, h, w]`, may stand for them.
        """


class ArrayImages:
    """Images in an array.

    Args:
        images: uint8 `[n, h, w, 3]`, in memory or mapped.
    """

    decodes = False

    def __init__(self, images: Pixels) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def prepare(self, positions: Positions) -> None:
        """Do nothing: they are there."""

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return nothing."""
        return 0.0

    def read(self, positions: Positions) -> Tensor:
        """Return copies of images, `[n, h, w, 3]`."""
        return torch.from_numpy(np.array(self._images[positions]))


class DecodedImages:
    """Images that are decoded from their files whenever they are read.

    Args:
        listing: The files.
        view: What of each image is wanted.
    """

    decodes = True

    def __init__(self, listing: Listing, view: View) -> None:
        self._listing = listing
        self._view = view

    def __len__(self) -> int:
        return len(self._listing)

    def prepare(self, positions: Positions) -> None:
        """Do nothing: nothing would be kept."""

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return nothing."""
        return 0.0

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return images, decoded in parallel.

        Raises:
            DataError: If some of them cannot be read or decoded; it names them.
        """
        with closing(render_each(self._listing, self._view, positions.tolist())) as rendered:
            return as_read(self._listing, self._view, list(rendered))


def as_read(listing: Listing, view: View, results: Sequence[Rendered]) -> Tensor | list[Tensor]:
    """Return images as `Images.read` does.

    Raises:
        DataError: If there is a reason in place of some; it names them.
    """
    if failed := [one for one in results if one.pixels is None]:
        raise unreadable(listing, failed, len(results))
    images = [torch.from_numpy(one.pixels) for one in results]
    if view.side is None:
        return images
    return torch.stack(images) if images else torch.empty(0, view.side, view.side, 3, dtype=torch.uint8)
