"""Launchers: where the runs of a sweep take place. `local`, processes of this machine, is built in.

A launcher is a function that returns a `concurrent.futures.Executor`; another package brings one by an entry point of
the group `hamdg.launchers` (docs/extending.md has an example).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, Protocol, TypeVar

from hamdg.errors import ConfigError
from hamdg.plugins import load_plugin, plugins
from hamdg.text import did_you_mean, excerpt, listed

LOCAL = "local"
GROUP = "hamdg.launchers"

P = ParamSpec("P")
T = TypeVar("T")


class Launcher(Protocol):
    """Starts whatever does the runs of a sweep."""

    def __call__(self, workers: int) -> Executor:
        """Return an executor that does up to `workers` jobs at the same time.

        A job is a function without arguments that can be pickled. Whichever process calls it makes one run and returns
        the run's directory, so that process has to see the same folders as this one. A job that raises, or whose
        process dies, is a failed run of the sweep: the future holds the error, and the executor goes on with others.
        """


class Processes(ThreadPoolExecutor):
    """Processes of this machine that do one job each at a time; one that dies takes no other job with it.

    Each thread of the pool keeps a process of its own, where `ProcessPoolExecutor` with several workers gives up all
    jobs as soon as one process dies.

    Args:
        workers: How many there are.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, initializer=self._start)
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

    def _start(self) -> None:
        self._of_thread.process = ProcessPoolExecutor(1, get_context("spawn"), _die_with_parent, (os.getpid(),))
        self._started.append(self._of_thread.process)

    def _call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        process: ProcessPoolExecutor = self._of_thread.process
        try:
            return process.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool:
            self._started.remove(process)
            process.shutdown(wait=False)
            self._start()
            raise


def find_launcher(name: str) -> Launcher:
    """Return the launcher called `name`.

    Raises:
        ConfigError: If there is none, with the nearest; or if the package that brings it is broken.
    """
    if name == LOCAL:
        return Processes
    known = [LOCAL, *plugins(GROUP)]
    if name not in known:
        hint = did_you_mean(name, known, f"there is {listed(known)}.")
        raise ConfigError(f"`--launcher`: there is no launcher `{excerpt(name)}`; {hint}")
    launcher = load_plugin(GROUP, name, "launcher")
    if not callable(launcher):
        raise ConfigError(
            f"The launcher `{name}` must be a function that takes the number of workers and returns a "
            f"`concurrent.futures.Executor`, but it is a `{type(launcher).__name__}`."
        )
    return launcher


def start(name: str, launcher: Launcher, workers: int) -> Executor:
    """Return the executor of a launcher.

    Raises:
        ConfigError: If it cannot start, for whatever reason: a launcher may be another package's.
    """
    try:
        return launcher(workers)
    except Exception as error:
        raise ConfigError(f"The launcher `{name}` cannot start ({type(error).__name__}: {excerpt(error)}).") from error


def _die_with_parent(parent: int) -> None:
    """End this process soon after the sweep was killed; its run resumes when the sweep is repeated."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
