"""Images and batches made ahead in threads; Pillow lets go of Python's lock while it decodes and resizes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from hamdg.cores import usable_cores
from hamdg.data.decode import UnreadableError
from hamdg.data.listing import Listing
from hamdg.data.transforms import View
from hamdg.errors import DataError
from hamdg.text import reason_of

Pixels = NDArray[np.uint8]
Made = TypeVar("Made")

# Images a thread takes at a time: enough to make handing over cheap, few enough for Ctrl-C to be quick.
_HANDFUL = 8
_SHOWN = 5
# How Pillow calls a file that is cut off.
TRUNCATED = "truncated"
# How many batches are made ahead: one is ready while the other is in the making.
AHEAD = 2
# How many threads may decode; `None` for one a core.
_most: int | None = None


class Rendered(NamedTuple):
    """An image's pixels, or why there are none; the stamp and the digest of the file that they were made of."""

    position: int
    pixels: Pixels | None
    reason: str = ""
    stamp: int = 0
    content: int = 0


def render_each(listing: Listing, view: View, positions: Sequence[int]) -> Generator[Rendered]:
    """Yield images of files in the order of `positions`; see `make_each`."""
    return make_each(partial(_one, listing, view), positions)


def make_each(make: Callable[[int], Made], positions: Sequence[int]) -> Generator[Made]:
    """Yield images, or what else is made of each of `positions`, in their order.

    They are made ahead in as many threads as this process may use.

    Close the generator (`contextlib.closing`) when it is left early, so that its threads end.

    Args:
        make: Makes what belongs to a position.
        positions: Which ones.
    """
    workers = min(decoding_threads(), len(positions))
    if workers <= 1:
        yield from _some(make, positions)
        return
    # A small batch is dealt out evenly, image by image if need be.
    handful = max(1, min(_HANDFUL, len(positions) // (2 * workers)))
    handfuls = (positions[start : start + handful] for start in range(0, len(positions), handful))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        waiting: deque[Future[list[Made]]] = deque(
            pool.submit(_some, make, handful) for handful in islice(handfuls, 2 * workers)
        )
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(_some, make, handful) for handful in islice(handfuls, 1))
            yield from done
    finally:
        pool.shutdown(cancel_futures=True)


class Ahead(Generic[Made]):
    """Makes things by number in threads, at most `AHEAD` more than were taken.

    What is made depends on its number alone, so it is the same as if it were made when it is taken. An error is raised
    by the `take` of the number that it belongs to. The threads end with the last number, or when this is closed.

    Args:
        make: Makes the thing of a number.
    """

    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make
        self._waiting: dict[int, Future[Made]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def take(self, number: int, following: Iterable[int]) -> Made:
        """Return the thing of a number, and have the next ones made meanwhile.

        Args:
            number: Which one.
            following: The numbers after it.
        """
        wanted = [number, *islice(following, AHEAD)]
        for other in self._waiting.keys() - set(wanted):
            self._waiting.pop(other).cancel()
        self._pool = self._pool or ThreadPoolExecutor(AHEAD, thread_name_prefix="ahead")
        for one in wanted:
            if one not in self._waiting:
                self._waiting[one] = self._pool.submit(self._make, one)
        try:
            return self._waiting.pop(number).result()
        finally:
            if not self._waiting:
                self.close()

    def close(self) -> None:
        """End the threads; what was made and not taken is discarded."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._waiting.clear()


def digest(content: bytes) -> int:
    """Return the 64-bit XXH3 of a file's bytes; it identifies files, but does not withstand forgery."""
    return xxhash.xxh3_64_intdigest(content)


def limit_threads(most: int | None) -> None:
    """Let at most so many threads of this process decode at a time; `None` lifts the limit."""
    global _most
    _most = most


def decoding_threads() -> int:
    """Return how many threads may decode: one for each core that this process may use, unless it is limited."""
    return max(1, min(usable_cores(), _most or usable_cores()))


def check_sizes(listing: Listing, what: str = "images") -> None:
    """Refuse images whose files are empty; none is opened.

    Args:
        listing: The images.
        what: What they are.

    Raises:
        DataError: If there are some; it names them.
    """
    empty = np.flatnonzero(listing.sizes == 0).tolist()
    if empty:
        failed = [Rendered(position, None, "the file is empty") for position in empty]
        raise unreadable(listing, failed, len(listing), what)


def unreadable(listing: Listing, failed: Sequence[Rendered], tried: int, what: str = "images") -> DataError:
    """Return the error that names images which could not be read.

    Args:
        listing: Where they are from.
        failed: The images, each with its reason.
        tried: How many images were to be read.
        what: What they are.
    """
    named = [f"`{listing.describe(one.position)}` ({one.reason})" for one in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        named.append(f"and {len(failed) - _SHOWN:,} more")
    cut = listing.truncated == "refuse" and any(TRUNCATED in one.reason for one in failed)
    tolerate = "; `--data.truncated=read` uses what is left of truncated ones, as DomainBed does" if cut else ""
    if what != "images":
        return DataError(
            f"{len(failed):,} of {tried:,} {what} of `{listing.domain}` cannot be used: {', '.join(named)}; "
            "correct or replace them, then repeat the command."
        )
    return DataError(
        f"{len(failed):,} of {tried:,} images of `{listing.domain}` cannot be read: {', '.join(named)}; "
        f"delete or replace them (`hamdg data verify` lists all that are damaged), then repeat the command{tolerate}."
    )


def _some(make: Callable[[int], Made], positions: Sequence[int]) -> list[Made]:
    # Several batches may be in the making at the same time, each with threads of its own.
    with _slots(decoding_threads()):
        return [make(position) for position in positions]


@cache
def _slots(count: int) -> threading.Semaphore:
    return threading.Semaphore(count)


def _one(listing: Listing, view: View, position: int) -> Rendered:
    """Read, decode and render one image."""
    try:
        # First the stamp: a file that is replaced in between then has another one when it is looked at again.
        stamp, content = listing.stamp(position), listing.content(position)
    except OSError as error:
        return Rendered(position, None, reason_of(error))
    try:
        return Rendered(position, view.make(content, listing.truncated), "", stamp, digest(content))
    except UnreadableError as error:
        return Rendered(position, None, str(error))
