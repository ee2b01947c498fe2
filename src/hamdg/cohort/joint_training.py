"""One training by several processes: how they meet, get the job from the first one, and say why they failed."""

from __future__ import annotations

import io
import pickle
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from signal import Signals
from typing import cast

import torch
from torch import Tensor, distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from hamdg.cohort.place import Place
from hamdg.errors import ConfigError, HamdgError, TrainingError

Job = Callable[[Place], None]
"""What the other processes do in a training."""
Others = Sequence[subprocess.Popen[bytes]]
"""The other processes, as far as this one has started them."""

# How long a process waits for another one: for the first one's validation and checkpoints, above all.
PATIENCE = timedelta(hours=12)
# How long the first process waits for the others to come, and to say why they left.
ARRIVAL, LAST_WORDS = timedelta(minutes=10), 3.0
PAUSE = 0.05
# Keys of the store through which the processes of a training talk before they have a group.
_CUDA, _READY, _FAILED, _ERROR = "cuda", "ready", "failed", "error"
# The exit code of a process that has said why it failed.
FAILED = 3
AGAIN = "repeat the same command to go on from the last checkpoint."


def connected(place: Place, *, first: bool = False) -> Store:
    """Return the store through which processes find each other; the first one keeps it."""
    return TCPStore(place.address, place.port, is_master=first, timeout=ARRIVAL, wait_for_workers=False)


def waited(store: Store, key: str) -> str:
    """Return what the first process has set, however long it takes."""
    while True:
        try:
            store.wait([key], PATIENCE)
            return store.get(key).decode()
        except distributed.DistStoreError:  # it takes long
            continue
        except distributed.DistError:  # it is gone
            raise SystemExit(FAILED) from None


def packed(job: Job) -> Tensor:
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


def led(store: Store, place: Place, job: Tensor, others: Others, cuda: bool) -> Iterator[Place]:
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
            if (reason := failure_elsewhere(store, place, others)) is None:
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
        time.sleep(PAUSE)


def failure_elsewhere(store: Store, place: Place, others: Others) -> Exception | None:
    """Return what another process failed of; `None` where none says so in time."""
    end = time.monotonic() + LAST_WORDS
    while time.monotonic() < end:
        time.sleep(PAUSE)
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
                f"machine was out of memory; {AGAIN}"
            )
        if code not in (None, 0, FAILED):
            return TrainingError(f"Process {rank + 1} of {place.world} ended with exit code {code}; {AGAIN}")
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
        cuda = waited(store, _CUDA) == "1"
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
