"""The processes that train together: started on this machine for one training, or by `srun` or `torchrun` for all.

The first process runs the whole pipeline. The others wait for trainings, take part in them, and do nothing else: they
get what is trained from the first one, and write nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from hamdg import console
from hamdg.cohort.joint_training import (
    AGAIN,
    LAST_WORDS,
    PAUSE,
    Job,
    Others,
    connected,
    failure_elsewhere,
    led,
    packed,
    take_part,
    waited,
)
from hamdg.cohort.place import Place
from hamdg.data.parallel import limit_threads
from hamdg.errors import TrainingError

LOOPBACK = "127.0.0.1"
_LEFT, _END = "left", "end"
_MEMBER = "hamdg.cohort.member"


class Team(ABC):
    """The processes that a run trains with; the first one uses it."""

    @abstractmethod
    def training(self, job: Job, cuda: bool) -> AbstractContextManager[Place]:
        """Have the other processes do a job while the block runs, which is the first process's part of it.

        Args:
            job: What the others do; it is sent to them, so it must be picklable.
            cuda: Whether they exchange tensors of GPUs, too.

        Raises:
            ConfigError: The job cannot be sent.
            TrainingError: Another process has ended, or failed in a way that is not explained better.
        """


class StartedTeam(Team):
    """Starts the other processes on this machine for each training, and ends them with it.

    They end also when this process is killed, since they hold the other end of a pipe.

    Args:
        count: How many processes there are, this one included.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    @contextmanager
    def training(self, job: Job, cuda: bool) -> Iterator[Place]:
        """Start the other processes, and have them do a job while the block runs."""
        sent = packed(job)
        store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
        place = Place(0, self.count, 0, self.count, LOOPBACK, store.port)
        before = torch.get_num_threads()
        threads = max(1, before // self.count)
        others = [_started(place._replace(rank=rank, local=rank), threads) for rank in range(1, self.count)]
        try:
            with _few_threads(threads, before), _watched(store, others, place) if cuda else nullcontext():
                yield from led(store, place, sent, others, cuda)
            for process in others:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LAST_WORDS)
        finally:
            _end(others)


class JoinedTeam(Team):
    """Processes that `srun` or `torchrun` started with the same command; they wait for trainings until `close`.

    Args:
        place: Where this process stands.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        # Of torchrun's agents one has the store already, and it outlives processes that are started anew.
        has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        first = place.rank == 0 and not has_agent
        store = connected(place, first=first)
        self._store = PrefixStore(f"hamdg/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self._trainings = 0
        self._broken = False

    @contextmanager
    def training(self, job: Job, cuda: bool) -> Iterator[Place]:
        """Have the other processes do a job while the block runs."""
        if self._broken:
            raise TrainingError(f"The other processes left when a training failed; {AGAIN}")
        sent, number = packed(job), self._trainings
        self._trainings += 1
        self._store.set(str(number), "train")
        self._broken = True
        yield from led(PrefixStore(f"{number}/", self._store), self.place, sent, (), cuda)
        self._broken = False

    def serve(self) -> None:
        """Take part in trainings until there are no more; what all processes but the first one do.

        Raises:
            Exception: What went wrong in this process.
        """
        number = 0
        while waited(self._store, str(number)) != _END:
            take_part(PrefixStore(f"{number}/", self._store), self.place)
            number += 1
        self._store.add(_LEFT, 1)

    def close(self) -> None:
        """Let the other processes go; the store ends with this one, so they must have been told."""
        if self._broken:
            return
        self._store.set(str(self._trainings), _END)
        end = time.monotonic() + LAST_WORDS
        while self._store.add(_LEFT, 0) < self.place.world - 1 and time.monotonic() < end:
            time.sleep(PAUSE)


def _started(place: Place, threads: int) -> subprocess.Popen[bytes]:
    """Start a process on this machine that takes part in one training."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    # `RANK` keeps libraries quiet in all processes but the first one.
    environment = {**os.environ, "PYTHONPATH": paths, "RANK": str(place.rank), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", "-m", _MEMBER, *map(str, place)]
    # In a session of its own, so that Ctrl-C reaches the first process alone, which ends the others.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
    )


def _end(others: Others) -> None:
    for process in others:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
    for process in others:
        process.wait()


@contextmanager
def _few_threads(count: int, before: int) -> Iterator[None]:
    """Leave the other processes their part of the cores."""
    torch.set_num_threads(count)
    limit_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        limit_threads(before)


@contextmanager
def _watched(store: Store, others: Others, place: Place) -> Iterator[None]:
    """End this process when another one has failed and this one waits for its GPU, from which nothing returns."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            if any(process.poll() for process in others) and not over.wait(10 * LAST_WORDS):
                said = failure_elsewhere(store, place, others) or f"Another process has ended; {AGAIN}"
                console.complain(f"hamdg: error: {said}")
                os._exit(1)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
