"""The disk that decoded pictures take: how much they will need, and whether it is there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hamdg.data.decode import UnreadableError, dimensions
from hamdg.data.listing import Listing
from hamdg.data.views import View
from hamdg.errors import StorageError

# Pictures whose heads are read to learn how much disk all of them will need.
SAMPLE = 256
WAYS_OUT = (
    "point `HAMDG_CACHE` (or `--data.cache`) to another disk, or decode on every reading with "
    "`--data.decode_once=false`"
)
_SPARE = 1.05


def check_fits(need: float, what: str, folder: Path) -> int:
    """Return the bytes that are free in a folder, which may not be there yet.

    Args:
        need: How many bytes will be kept there.
        what: What they are, for the message.
        folder: The folder.

    Raises:
        StorageError: If they do not fit.
    """
    free = shutil.disk_usage(next(one for one in (folder, *folder.absolute().parents) if one.exists())).free
    if need * _SPARE > free:
        raise StorageError(
            f"Keeping {what} needs {amount(need * _SPARE)} in `{folder}`, where {amount(free)} are free; free some "
            f"space, {WAYS_OUT}."
        )
    return free


def needed(listing: Listing, view: View, positions: Sequence[int]) -> float:
    """Return the bytes that pictures will take; where their sizes differ, from the heads of some of them."""
    if view.side is not None:
        return 3.0 * view.side**2 * len(positions)
    chosen = np.unique(np.linspace(0, len(positions) - 1, SAMPLE).astype(int))
    sizes = [size for index in chosen.tolist() if (size := _bytes(listing, view, positions[index])) is not None]
    return float(np.mean(sizes)) * len(positions) if sizes else 0.0


def _bytes(listing: Listing, view: View, position: int) -> int | None:
    try:
        width, height = view.size(*dimensions(listing.content(position)))
    except (OSError, UnreadableError):  # which decoding will report
        return None
    return 3 * width * height


def amount(count: float) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
