"""The processes that train together: started on this machine for one training, or by `srun` or `torchrun` for all.

The first process runs the whole pipeline. The others wait for trainings, take part in them, and do nothing else: they
get what is trained from the first one, and write nothing.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from signal import Signals
from typing import cast

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from hamdg import console
from hamdg.cohort.place import Place
from hamdg.data.parallel import limit_threads
from hamdg.errors import ConfigError, HamdgError, TrainingError

Job = Callable[[Place], None]
"""What the other processes do in a training."""
Others = Sequence[subprocess.Popen[bytes]]
"""The other processes, as far as this one has started them."""

LOOPBACK = "127.0.0.1"
# How long a process waits for another one: for the first one's validation and checkpoints, above all.
PATIENCE = timedelta(hours=12)
# How long the first process waits for the others to come, and to say why they left.
ARRIVAL, LAST_WORDS = timedelta(minutes=10), 3.0
_PAUSE = 0.05
_CUDA, _READY, _FAILED, _ERROR, _LEFT, _END = "cuda", "ready", "failed", "error", "left", "end"
# The exit code of a process that has said why it failed.
FAILED = 3
_MEMBER = "hamdg.cohort.member"
_AGAIN = "repeat the same command to go on from the last checkpoint."


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
        sent = _packed(job)
        store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
        place = Place(0, self.count, 0, self.count, LOOPBACK, store.port)
        before = torch.get_num_threads()
        threads = max(1, before // self.count)
        others = [_started(place._replace(rank=rank, local=rank), threads) for rank in range(1, self.count)]
        try:
            with _few_threads(threads, before), _watched(store, others, place) if cuda else nullcontext():
                yield from _led(store, place, sent, others, cuda)
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
            raise TrainingError(f"The other processes left when a training failed; {_AGAIN}")
        sent, number = _packed(job), self._trainings
        self._trainings += 1
        self._store.set(str(number), "train")
        self._broken = True
        yield from _led(PrefixStore(f"{number}/", self._store), self.place, sent, (), cuda)
        self._broken = False

    def serve(self) -> None:
        """Take part in trainings until there are no more; what all processes but the first one do.

        Raises:
            Exception: What went wrong in this process.
        """
        number = 0
        while _waited(self._store, str(number)) != _END:
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
            time.sleep(_PAUSE)


def connected(place: Place, *, first: bool = False) -> Store:
    """Return the store through which processes find each other; the first one keeps it."""
    return TCPStore(place.address, place.port, is_master=first, timeout=ARRIVAL, wait_for_workers=False)


def _waited(store: Store, key: str) -> str:
    """Return what the first process has set, however long it takes."""
    while True:
        try:
            store.wait([key], PATIENCE)
            return store.get(key).decode()
        except distributed.DistStoreError:  # it takes long
            continue
        except distributed.DistError:  # it is gone
            raise SystemExit(FAILED) from None


def _packed(job: Job) -> Tensor:
    """Return a job as bytes.

    Raises:
        ConfigError: It cannot be sent to other processes.
    """
    stream = io.BytesIO()
    try:
        # Not `pickle` alone, which would send tensors that share their memory once each.
        torch.save(job, stream)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"What is trained cannot be sent to other processes ({error}); let learners and couplings hold no lambdas, "
            "local functions or open files, or use one device."
        ) from error
    return torch.frombuffer(stream.getbuffer(), dtype=torch.uint8)


def _send(job: Tensor) -> None:
    distributed.broadcast(torch.tensor([len(job)]), src=0)
    distributed.broadcast(job, src=0)


def _receive() -> Job:
    size = torch.zeros(1, dtype=torch.int64)
    distributed.broadcast(size, src=0)
    found = torch.empty(int(size), dtype=torch.uint8)
    distributed.broadcast(found, src=0)
    try:
        return cast("Job", torch.load(io.BytesIO(found.numpy().tobytes()), weights_only=False))
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"What is trained cannot be loaded by another process ({error}); define learners and couplings in a module "
            "that can be imported, or use one device."
        ) from error


@contextmanager
def _group(store: Store, place: Place, cuda: bool) -> Iterator[None]:
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    distributed.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _led(store: Store, place: Place, job: Tensor, others: Others, cuda: bool) -> Iterator[Place]:
    """Yield once all processes have the job; explain an error by what another process says of itself."""
    store.set(_CUDA, str(int(cuda)))
    _wait_for_all(store, place, others)
    if cuda:
        torch.cuda.set_device(place.local)
    with _group(store, place, cuda):
        try:
            _send(job)
            yield place
        except HamdgError:
            raise
        except Exception:
            # Before the group ends, which the others would take for a failure of this process.
            if (reason := _reason(store, place, others)) is None:
                raise
            raise reason from reason.__cause__


def _wait_for_all(store: Store, place: Place, others: Others) -> None:
    """Wait until all other processes are there.

    Raises:
        TrainingError: One has ended, or does not come.
        Exception: One says what went wrong.
    """
    end, missing = time.monotonic() + ARRIVAL.total_seconds(), list(range(1, place.world))
    while missing := [rank for rank in missing if not store.check([f"{_READY}/{rank}"])]:
        if (error := _trouble(store, place, others)) is not None:
            raise error
        if time.monotonic() > end:
            raise TrainingError(
                f"Process {missing[0] + 1} of {place.world} did not come within {ARRIVAL.total_seconds() / 60:.0f} "
                "minutes; start the same command on all machines at the same time."
            )
        time.sleep(_PAUSE)


def _reason(store: Store, place: Place, others: Others) -> Exception | None:
    """Return what another process failed of; `None` where none says so in time."""
    end = time.monotonic() + LAST_WORDS
    while time.monotonic() < end:
        time.sleep(_PAUSE)
        if (error := _trouble(store, place, others)) is not None:
            return error
    return None


def _trouble(store: Store, place: Place, others: Others) -> Exception | None:
    """Return what is known of a failure now."""
    # First those that were killed: they take others with them, whose words are only about that.
    for rank, process in enumerate(others, 1):
        code = process.poll()
        if code is not None and code < 0:
            return TrainingError(
                f"Process {rank + 1} of {place.world} was killed ({Signals(-code).name}), for instance since the "
                f"machine was out of memory; {_AGAIN}"
            )
        if code not in (None, 0, FAILED):
            return TrainingError(f"Process {rank + 1} of {place.world} ended with exit code {code}; {_AGAIN}")
    with suppress(distributed.DistError):
        if store.check([_ERROR]):
            error, text = pickle.loads(bytes.fromhex(store.get(_ERROR).decode()))
            error.__cause__ = _OtherProcessError(text)
            return cast("Exception", error)
    return None


class _OtherProcessError(Exception):
    """Shows where an error was raised, in another process."""

    def __init__(self, text: str) -> None:
        super().__init__(f'\n"""\n{text}"""')


def take_part(store: Store, place: Place) -> None:
    """Do the job that the first process sends.

    Raises:
        SystemExit: Another process failed before this one did, and says why.
        Exception: This one failed; the first process knows.
    """
    try:
        cuda = _waited(store, _CUDA) == "1"
        if cuda:
            torch.cuda.set_device(place.local)
        store.set(f"{_READY}/{place.rank}", "")
        with _group(store, place, cuda):
            _receive()(place)
    except BaseException as error:
        if not _reported(store, place, error):
            raise SystemExit(FAILED) from error
        raise


def _reported(store: Store, place: Place, error: BaseException) -> bool:
    """Tell the first process what went wrong; return `False` where another process did so first."""
    text = "".join(traceback.format_exception(error))
    try:
        if store.add(_FAILED, 1) != 1:
            return False
        store.set(_ERROR, _pickled(error, text, place).hex())
    except distributed.DistError:  # the first process is gone
        return False
    return True


def _pickled(error: BaseException, text: str, place: Place) -> bytes:
    with suppress(Exception):
        packed = pickle.dumps((error, text))
        pickle.loads(packed)
        return packed
    named = f"{type(error).__name__}: {error}"
    return pickle.dumps((RuntimeError(f"Process {place.rank + 1} of {place.world} failed ({named})."), text))


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
                said = _reason(store, place, others) or f"Another process has ended; {_AGAIN}"
                console.complain(f"hamdg: error: {said}")
                os._exit(1)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
