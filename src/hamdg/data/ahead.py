"""Makes what is wanted next while what is there is being used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Made = TypeVar("Made")

# How many batches are made ahead: one is ready while the other is in the making.
AHEAD = 2


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
        """End the threads; what they have made and nobody took is given up."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._waiting.clear()
