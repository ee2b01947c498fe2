"""Runs in processes of this machine; where it has GPUs, each process has its own."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, ParamSpec, TypeVar

from hamdg.cores import usable_cores
from hamdg.errors import ConfigError
from hamdg.sweeps.launchers.base import JobLostError, Launcher
from hamdg.values import Range

_VISIBLE = "CUDA_VISIBLE_DEVICES"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Local(Launcher):
    """Processes of this machine.

    Where it has GPUs there is a process for each one, which sees no other; elsewhere one for each core. With more
    (`--processes`), GPUs are shared. The CPU threads are divided among them.

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
        self._started: list[ProcessPoolExecutor] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a process call a function that can be pickled."""
        return super().submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes; jobs under way come to their end first."""
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        for process in self._started:
            process.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _take_slot(self) -> None:
        self._of_thread.slot = self._slots.get_nowait()
        self._start()

    def _start(self) -> None:
        begin = (os.getpid(), self._of_thread.slot)
        self._of_thread.process = ProcessPoolExecutor(1, get_context("spawn"), _begin, begin)
        self._started.append(self._of_thread.process)

    def _call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        process: ProcessPoolExecutor = self._of_thread.process
        try:
            return process.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool as error:
            self._started.remove(process)
            process.shutdown(wait=False)
            self._start()
            raise JobLostError("Its process was killed; the system does that when memory runs out.") from error


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


def _begin(parent: int, environment: Mapping[str, str]) -> None:
    """Set the environment of this process, and end it soon after the sweep was killed; its run resumes another time."""
    os.environ.update(environment)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
