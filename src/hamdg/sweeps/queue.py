"""Which job of a sweep is next, beside other sweeps in the same folder: what one works on, the others wait for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from hamdg import console
from hamdg.errors import RunDirectoryError, RunInUseError
from hamdg.text import reason_of

Result = TypeVar("Result")

# Seconds after which what was taken is tried again: at first, and at most.
PAUSE, LONGEST_PAUSE = 0.5, 15.0


class Watcher(Protocol):
    """Is notified when a job begins here, and when it is put back."""

    def begin(self, number: int) -> None:
        """Note that a job begins."""

    def postpone(self, number: int) -> None:
        """Note that another process works on a job that was begun."""


class Claims:
    """What this process works on: a lock each, which others respect until it is given back or this process ends.

    Args:
        folder: Where claims lie, the same for all processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, FileLock] = {}

    def take(self, name: str) -> bool:
        """Take what has this name, without waiting; return whether it was free.

        Raises:
            RunDirectoryError: If no lock can be written, as in another user's folder.
        """
        lock = FileLock(self._folder / f"{name}.lock", is_singleton=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            reason = reason_of(error).lower()
            raise RunDirectoryError(f"Cannot write to `{self._folder}`: {reason}; choose another `root`.") from error
        self._locks[name] = lock
        return True

    def give_back(self, name: str) -> None:
        """Give back what has this name."""
        self._locks.pop(name).release()

    def give_all_back(self) -> None:
        """Give back whatever is left."""
        for name in list(self._locks):
            self.give_back(name)


@dataclass
class _Group:
    """Jobs that share something expensive, which the first one that succeeds makes for all.

    Args:
        name: What it is claimed by.
        waiting: The numbers of the jobs that have not begun.
        running: How many have.
        made: Whether what they share is there.
        retry: When a job that was in use elsewhere is tried again, by `time.monotonic`.
        pause: How long the next such wait is.
    """

    name: str
    waiting: deque[int]
    running: int = 0
    made: bool = False
    retry: float = 0.0
    pause: float = field(default_factory=lambda: PAUSE)

    @property
    def is_ready(self) -> bool:
        """Whether one of its jobs can begin."""
        return bool(self.waiting) and (self.made or not self.running) and time.monotonic() >= self.retry


class Queue:
    """Which job is next: those of groups that were begun first, then those of the first group that is free.

    Args:
        groups: The numbers of the jobs, by what they share.
        claims: What shows other processes which jobs this one works on.
    """

    def __init__(self, groups: dict[str, list[int]], claims: Claims) -> None:
        self._claims = claims
        self._open = [_Group(name, deque(numbers)) for name, numbers in groups.items()]
        self._begun: list[_Group] = []
        self._group_of: dict[int, _Group] = {}
        self._announced = False

    @property
    def is_empty(self) -> bool:
        """Whether no job is left to begin."""
        return not self._open and not any(group.waiting for group in self._begun)

    def next(self) -> int | None:
        """Return the number of the job to begin now; `None` if all that are left wait for others."""
        group = next((group for group in self._begun if group.is_ready), None) or self._claimed()
        if group is None:
            return None
        number = group.waiting.popleft()
        group.running += 1
        self._group_of[number] = group
        return number

    def finish(self, number: int, succeeded: bool) -> None:
        """Note that a job ended; if it failed, the next one of its group makes what they share."""
        group = self._group_of.pop(number)
        group.running -= 1
        group.made |= succeeded
        group.pause = PAUSE
        if not group.waiting and not group.running:
            self._begun.remove(group)
            self._claims.give_back(group.name)

    def postpone(self, number: int) -> None:
        """Put a job back whose run another process works on."""
        group = self._group_of.pop(number)
        group.running -= 1
        group.waiting.appendleft(number)
        group.retry, group.pause = time.monotonic() + group.pause, min(2 * group.pause, LONGEST_PAUSE)
        self.announce_wait()

    def announce_wait(self) -> None:
        """Print, once, that this process waits for others."""
        if not self._announced:
            console.note("waiting for runs that another process works on; what it does is not done again")
            self._announced = True

    def _claimed(self) -> _Group | None:
        for group in self._open:
            if self._claims.take(group.name):
                self._open.remove(group)
                self._begun.append(group)
                return group
        return None


def run_all(
    work: Sequence[Callable[[], Result]],
    groups: dict[str, list[int]],
    claims: Claims,
    executor: Executor,
    workers: int,
    watcher: Watcher | None = None,
) -> Iterator[tuple[int, Result | BaseException]]:
    """Do all jobs, and yield what became of each as it ends.

    Args:
        work: The jobs; they are sent to other processes.
        groups: Their numbers, by what they share and what other sweeps may want as well.
        claims: What shows other processes which jobs this one works on.
        executor: What does them; it is shut down at the end.
        workers: How many jobs run at the same time.
        watcher: Is notified of the jobs that begin.

    Yields:
        The number of a job, and its result or the error that ended it.
    """
    queue, running = Queue(groups, claims), dict[Future[Result], int]()
    try:
        while not queue.is_empty or running:
            # A job is handed over when it can run, not before: until then another sweep may take it.
            while len(running) < workers and (number := queue.next()) is not None:
                if watcher is not None:
                    watcher.begin(number)
                running[executor.submit(work[number])] = number
            if not running:
                queue.announce_wait()
                time.sleep(PAUSE)
            # With a worker free, something waits for another process, and may be free soon.
            patience = PAUSE if len(running) < workers and not queue.is_empty else None
            for future in wait(running, patience, return_when=FIRST_COMPLETED).done:
                number, error = running.pop(future), future.exception()
                if isinstance(error, RunInUseError):
                    queue.postpone(number)
                    if watcher is not None:
                        watcher.postpone(number)
                    continue
                queue.finish(number, succeeded=error is None)
                yield number, error if error is not None else future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        claims.give_all_back()
