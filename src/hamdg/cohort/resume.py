"""Writes the one checkpoint that a killed run goes on from, and looks at it before it is used."""

from __future__ import annotations

import math
import pickle
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.cohort.cohort import flush
from hamdg.files import atomic_path
from hamdg.text import listed
from hamdg.values import MismatchError, check

T = TypeVar("T")
# What reading a file that is not a checkpoint of ours may raise.
UNREADABLE = (
    *(zipfile.BadZipFile, pickle.UnpicklingError, EOFError, NotImplementedError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, IsADirectoryError),
)


class CheckpointError(ValueError):
    """Training cannot go on from a checkpoint; says what is wrong with it."""


class _Checkpoint(TypedDict):
    global_step: int
    state_dict: dict[str, object]
    callbacks: dict[str, dict[str, object]]
    loops: dict[str, object]
    optimizer_states: list[dict[str, object]]
    lr_schedulers: list[dict[str, object]]


class Interval:
    """The time between two checkpoints: some steps, or some minutes, whichever ends first.

    Args:
        every: Steps; `None` for minutes alone.
        minutes: Minutes.
    """

    def __init__(self, every: int | None = None, minutes: float = math.inf) -> None:
        self._every = every
        self._seconds = 60 * minutes
        self.begin()

    def begin(self) -> None:
        """Count minutes from now on."""
        self._began = time.monotonic()

    def ends(self, step: int) -> bool:
        """Return whether a checkpoint is due after a step."""
        by_steps = self._every is not None and step % self._every == 0
        return by_steps or time.monotonic() - self._began >= self._seconds


class ResumeCheckpoint(Callback):
    """Replaces a step's `resume.ckpt` every few minutes, and every few optimizer steps, while training goes on.

    It must be the last callback, so that the state of all others is that of the same step. What is written is a copy,
    made before the next step begins; an error of the disk is raised at the next checkpoint or at the end.

    Args:
        path: The checkpoint.
        every: Steps between two checkpoints; none by steps if `None`.
        minutes: Minutes between two checkpoints.
        origin: What tells the training from others; kept in the checkpoint.
    """

    def __init__(
        self,
        path: Path,
        every: int | None = None,
        minutes: float = math.inf,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.interval = Interval(every, minutes)
        self.origin = dict(origin or {})
        self.restored = False
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self._writer = _Writer()

    def state_dict(self) -> dict[str, Any]:
        """Return whose checkpoint it is, and how long training took; called when the checkpoint is written."""
        return {"origin": self.origin, "seconds": self.seconds_before + time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the time of the killed run; called when it goes on."""
        self.seconds_before = state_dict["seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the Trainer's checkpoints be written by this callback; called once, before anything is restored."""
        trainer.strategy.checkpoint_io = self._writer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that all states are restored; called once, also when a run is resumed."""
        self.restored = True
        self.interval.begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Begin to write the checkpoint where one is due, measurements first; called after every batch."""
        # From a checkpoint of the last step there is nothing to go on with: Lightning would not even end the training.
        ends = trainer.should_stop or trainer.global_step >= trainer.max_steps
        if self.interval.ends(trainer.global_step) and not ends:
            flush(pl_module)
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(self.path)
            self.interval.begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for what is being written; called once, when all steps are done."""
        self._writer.wait()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait for what is being written; called also when training was interrupted."""
        self._writer.teardown()


class _Writer(TorchCheckpointIO):
    """Writes checkpoints in a thread, one at a time, each as a whole or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Copy the state and begin to write it; the one before is complete then."""
        self.wait()
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = self._thread.submit(write_checkpoint, _copied(checkpoint), Path(path))

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            StorageError: It could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def teardown(self) -> None:
        """End the thread, when what it writes is written."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = None


def write_checkpoint(checkpoint: object, path: Path) -> None:
    """Write a checkpoint as a whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        try:
            torch.save(checkpoint, stream)
        except RuntimeError as error:
            # On a full disk torch ends its archive after the failed write, and complains of that in place of the disk.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _copied(value: object) -> object:
    """Return a copy of a state on the CPU, which the next steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_copied(item) for item in value)
    return value


def load_checkpoint(path: Path, kind: type[T]) -> T:
    """Return the content of a checkpoint, compared with the checksums in it, which `torch.load` does not look at.

    Args:
        path: The checkpoint.
        kind: The `TypedDict` that it is to be.

    Raises:
        CheckpointError: It is damaged.
        OSError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise CheckpointError(f"is damaged (the checksum of `{Path(broken).name}` differs)")
        content = torch.load(path, map_location="cpu", weights_only=True)
        check(content, kind)
    except CheckpointError:
        raise
    except UNREADABLE as error:
        # torch's own words go on about how to load what should not be trusted.
        why = f"is damaged ({error})" if isinstance(error, MismatchError) else "is damaged or no checkpoint"
        raise CheckpointError(why) from error
    return cast("T", content)


def read_checkpoint(path: Path, like: Mapping[str, object], steps: int, origin: Mapping[str, str]) -> int:
    """Return the step of a checkpoint that training can go on from.

    Args:
        path: The checkpoint.
        like: The state of the module that it is for.
        steps: Number of training steps.
        origin: What tells the training from others.

    Raises:
        CheckpointError: It is damaged, or of another training.
        OSError: It cannot be read.
    """
    content = load_checkpoint(path, _Checkpoint)
    _compare(content, like, steps, origin)
    return content["global_step"]


def checkpoint_step(path: Path) -> int:
    """Return the step that a checkpoint claims to be of, for people to read; 0 where it cannot be told."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(content["global_step"])
    except (OSError, *UNREADABLE):
        return 0


def _compare(found: _Checkpoint, like: Mapping[str, object], steps: int, origin: Mapping[str, str]) -> None:
    # Checkpoints of earlier versions do not say whose they are.
    before = cast("Mapping[str, str]", found["callbacks"].get(ResumeCheckpoint.__name__, {}).get("origin", origin))
    if different := [name for name in sorted({*before, *origin}) if before.get(name) != origin.get(name)]:
        raise CheckpointError(f"is of another training ({listed(different)} differs)")
    if _shapes(found["state_dict"]) != _shapes(like):
        raise CheckpointError("is of another training")
    if not 0 < found["global_step"] < steps:
        raise CheckpointError(f"is damaged (it claims to be of step {found['global_step']} of {steps})")


def _shapes(state: Mapping[str, object]) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of all tensors by name; what else modules keep has none."""
    return {name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in state.items()}
