"""Runs in processes of this machine; where it has GPUs, each process has its own."""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Annotated, ParamSpec, TypeVar

from hamdg.cores import usable_cores
from hamdg.errors import ConfigError
from hamdg.sweeps.launchers.base import JobLostError, Launcher
from hamdg.values import Range

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Seconds that an interrupted job has to end by itself; then its process ends, and it goes on from its checkpoint.
_GRACE = 2.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Local(Launcher):
    """Processes of this machine.

    Where it has GPUs there is a process for each one, which sees no other; elsewhere one for each core. With more
    (`--processes`), GPUs are shared. The CPU threads are divided among those that there are runs for.

    Args:
        gpus: GPUs of each run: 0.5 lets two runs share one, 0 hides them all.
    """

    gpus: Annotated[float, Range(0, 64)] = 1.0

    def workers(self) -> int:
        """Return how many runs take place at a time: as many as have GPUs, without any as many as there are cores."""
        return len(_shares(visible_gpus(), self.gpus)) or usable_cores()

    def threads(self, workers: int | None) -> int:
        """Return this machine's threads, divided among the runs."""
        return max(1, usable_cores() // (workers or self.workers()))

    def start(self, workers: int, folder: Path) -> Executor:
        """Return processes that do one job each at a time."""
        gpus = visible_gpus()
        if gpus and self.gpus > len(gpus):
            raise ConfigError(f"`launcher.local.gpus` is {self.gpus:g}, but this process sees {len(gpus)} GPU(s).")
        shares = cycle(_shares(gpus, self.gpus) or [""])
        # Read by libraries when they are imported; two runs with as many threads as cores each starve each other.
        common = {"OMP_NUM_THREADS": str(self.threads(workers))}
        return Processes([common | ({_VISIBLE: next(shares)} if gpus else {}) for _ in range(workers)])


class Processes(ThreadPoolExecutor):
    """Processes of this machine that do one job each at a time; one that dies takes no other job with it.

    Each thread of the pool keeps a process of its own, where `ProcessPoolExecutor` with several workers gives up all
    jobs as soon as one process dies.

    Args:
        slots: The environment variables of each process, beside those of this one.
    """

    def __init__(self, slots: Sequence[Mapping[str, str]]) -> None:
        super().__init__(len(slots), initializer=self._take_slot)
        self._slots = SimpleQueue[Mapping[str, str]]()
        for slot in slots:
            self._slots.put(slot)
        self._of_thread = threading.local()
        self._started: list[_Process] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a process call a function that can be pickled."""
        return super().submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes when their jobs have ended; with `cancel_futures` end those under way within seconds."""
        if cancel_futures:
            super().shutdown(wait=False, cancel_futures=True)
            for process in list(self._started):
                process.stop()
        super().shutdown(wait=wait)
        for process in self._started:
            process.end(wait)

    def _take_slot(self) -> None:
        self._of_thread.slot = self._slots.get_nowait()
        self._start()

    def _start(self) -> None:
        self._of_thread.process = _Process(self._of_thread.slot)
        self._started.append(self._of_thread.process)

    def _call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        process: _Process = self._of_thread.process
        try:
            return process.call(fn, *args, **kwargs)
        except BrokenProcessPool as error:
            if process.is_stopped:
                raise JobLostError("It was stopped with its sweep; it goes on from its last checkpoint.") from error
            self._started.remove(process)
            process.end(wait=False)
            self._start()
            raise JobLostError("Its process was killed; the system does that when memory runs out.") from error


class _Process:
    """A process that does one job at a time, and ends with this one.

    Args:
        environment: Its environment variables, beside those of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        # Nothing is ever sent: the process sees that its end is closed, also when this process was killed.
        theirs, self._alive = get_context("spawn").Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (theirs, environment))
        self._lock = threading.Lock()
        self._is_busy = False
        self.is_stopped = False

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Let the process call a function, and return what that returns."""
        with self._lock:
            if self.is_stopped:
                raise JobLostError("Its sweep was stopped before it began.")
            self._is_busy = True
        try:
            return self._pool.submit(_call, fn, *args, **kwargs).result()
        finally:
            self._is_busy = False

    def stop(self) -> None:
        """Begin no other job, and interrupt the one under way."""
        with self._lock:
            self.is_stopped = True
            if self._is_busy:
                self._alive.close()

    def end(self, wait: bool) -> None:
        """End the process."""
        self._pool.shutdown(wait=wait, cancel_futures=True)
        self._alive.close()


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    if (named := os.environ.get(_VISIBLE)) is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in named.split(",")][:count]


def _shares(gpus: Sequence[str], each: float) -> list[str]:
    """Return what each run sees of these GPUs, if each gets so many; nothing where there are too few for one."""
    if each > 1:
        size = math.ceil(each)
        return [",".join(gpus[first : first + size]) for first in range(0, len(gpus) - size + 1, size)]
    # Neighbours in the list are on different GPUs, so that few runs are spread.
    return list(gpus) * math.floor(1 / each + 1e-9) if each else []


# Whether Ctrl-C interrupts what this process does: a job, and that once, so that its clean-up comes to its end.
_can_be_interrupted = False


def _begin(alive: Connection, environment: Mapping[str, str]) -> None:
    """Set the environment of this process, and end it soon after the sweep; its run resumes another time."""
    os.environ.update(environment)
    # Runs last: Python would look through all of torch's objects once more, which takes seconds.
    atexit.register(os._exit, 0)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(alive,), daemon=True).start()


def _watch(alive: Connection) -> None:
    with suppress(EOFError, OSError):
        alive.recv_bytes()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_GRACE)
    os._exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A terminal sends Ctrl-C to all processes of a sweep, which tells each of them a second time.
    global _can_be_interrupted
    if _can_be_interrupted:
        _can_be_interrupted = False
        raise KeyboardInterrupt


def _call(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    global _can_be_interrupted
    _can_be_interrupted = True
    try:
        return fn(*args, **kwargs)
    finally:
        _can_be_interrupted = False
