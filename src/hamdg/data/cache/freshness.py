"""Whether kept images are still those of their files: judged by the files' stamps, or else by their contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hamdg import console
from hamdg.data.cache.files import StoreFiles
from hamdg.data.listing import Listing
from hamdg.data.parallel import digest

Found = TypeVar("Found")

# Looking at a file is a wait for the disk, or for another machine's; so many are handed to a thread at a time.
_THREADS = 8
_HANDFUL = 128


class Freshness(NamedTuple):
    """What files say about the images that were made of them.

    Args:
        replaced: Images whose files have other contents now, or are gone.
        touched: New stamps, and the digests of the contents, of files that were touched and have the same contents.
    """

    replaced: list[int]
    touched: dict[int, tuple[int, int]]


def compare(listing: Listing, files: StoreFiles, positions: NDArray[np.int64]) -> Freshness:
    """Compare images that are there with their files; a file is read only if its stamp has changed."""
    found = Freshness([], {})
    if other := [one for one, stamp in _stamps(listing, positions.tolist()) if not _same(files, one, stamp)]:
        with console.progress(len(other), f"files of `{listing.domain}` compared") as advance:
            for parts in _each(lambda some: [(one, *_facts(listing, one)) for one in some], other):
                advance(len(parts))
                for position, stamp, content in parts:
                    if content is None or content != files.rows["content"][position]:
                        found.replaced.append(position)
                    else:
                        found.touched[position] = stamp, content
    return found


def _same(files: StoreFiles, position: int, stamp: int) -> bool:
    return stamp != 0 and stamp == files.rows["stamp"][position]


def _facts(listing: Listing, position: int) -> tuple[int, int | None]:
    """Return the stamp and the digest of a file, the latter `None` if it cannot be read."""
    try:
        return listing.stamp(position), digest(listing.content(position))
    except OSError:
        return 0, None


def _stamps(listing: Listing, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    for parts in _each(lambda some: [(one, _stamp(listing, one)) for one in some], positions):
        yield from parts


def _stamp(listing: Listing, position: int) -> int:
    try:
        return listing.stamp(position)
    except OSError:
        return 0


def _each(work: Callable[[Sequence[int]], list[Found]], positions: Sequence[int]) -> Iterator[list[Found]]:
    """Yield what `work` finds of some positions after others, in their order."""
    handfuls = [positions[start : start + _HANDFUL] for start in range(0, len(positions), _HANDFUL)]
    if len(handfuls) <= 1:
        yield from map(work, handfuls)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(work, handfuls)
