"""The disk that decoded images and activations take: how much they will need, and whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hamdg.data.decode import UnreadableError
from hamdg.data.listing import Listing
from hamdg.data.transforms import View
from hamdg.errors import StorageError
from hamdg.files import free_bytes

# Images whose heads are read to learn how much disk all of them will need.
SAMPLE = 256
# What an image takes at most if it is compressed, of which only the size of its file is known.
_COMPRESSED = 250_000
_SPARE = 1.05


def check_fits(need: float, what: str, folder: Path, smaller: float | None = None) -> int:
    """Return the bytes that are free in a folder, which may not be there yet.

    Args:
        need: How many bytes will be kept there.
        what: What they are, for the message.
        folder: The folder.
        smaller: What they would take at most if they were compressed; `None` where they are.

    Raises:
        StorageError: If they do not fit.
    """
    free = free_bytes(folder)
    if need * _SPARE > free:
        smaller = smaller if smaller is not None and smaller < need else None
        raise StorageError(
            f"Keeping {what} needs {amount(need * _SPARE)} in `{folder}`, where {amount(free)} are free; free some "
            f"space, {ways_out(smaller)}."
        )
    return free


def check_activations_fit(need: float, what: str, folder: Path, images: float = 0.0) -> int:
    """Return the bytes that are free in a folder, which may not be there yet.

    Args:
        need: How many bytes of activations will be kept there.
        what: What they are, for the message.
        folder: The folder.
        images: How many bytes of decoded images will be kept beside them.

    Raises:
        StorageError: If they do not fit.
    """
    free = free_bytes(folder)
    if (need + images) * _SPARE > free:
        beside = f" beside {amount(images * _SPARE)} of decoded images" if images else ""
        raise StorageError(
            f"Keeping {what} needs {amount(need * _SPARE)} in `{folder}`{beside}, where {amount(free)} are free; free "
            "some space, lower `data.views`, or point `HAMDG_CACHE` (or `--data.cache`) to another disk."
        )
    return free


def ways_out(smaller: float | None = None) -> str:
    """Return what to do where images do not fit.

    Args:
        smaller: What they would take at most if they were compressed; `None` where that is no way out.
    """
    compressed = (
        "" if smaller is None else f"keep them compressed with `--data.store=compressed` (at most {amount(smaller)}), "
    )
    return (
        f"point `HAMDG_CACHE` (or `--data.cache`) to another disk, {compressed}or decode on every reading with "
        "`--data.decode_once=false`"
    )


def compressed_bytes(listing: Listing, positions: Sequence[int] | None = None) -> float:
    """Return what images take at most if they are compressed, judged by the sizes of their files alone."""
    sizes = listing.sizes if positions is None else listing.sizes[np.asarray(positions, np.int64)]
    return float(np.minimum(sizes, _COMPRESSED).sum())


def needed(listing: Listing, view: View, positions: Sequence[int]) -> float:
    """Return the bytes that images will take; where their sizes differ, from the heads of some of them."""
    if view.side is not None:
        return view.bytes_of(b"") * len(positions)
    chosen = np.unique(np.linspace(0, len(positions) - 1, SAMPLE).astype(int))
    sizes = [size for index in chosen.tolist() if (size := _bytes(listing, view, positions[index])) is not None]
    return float(np.mean(sizes)) * len(positions) if sizes else 0.0


def _bytes(listing: Listing, view: View, position: int) -> float | None:
    try:
        return view.bytes_of(listing.content(position))
    except (OSError, UnreadableError):  # which decoding will report
        return None


def amount(count: float) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
