"""Writes the one checkpoint that a killed run goes on from, and looks at it before it is used."""

from __future__ import annotations

import pickle
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.cohort.cohort import flush
from hamdg.files import atomic_path
from hamdg.text import listed
from hamdg.values import MismatchError, check

# What reading a file that is no checkpoint of ours may raise.
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


class ResumeCheckpoint(Callback):
    """Replaces a step's `resume.ckpt` every few optimizer steps.

    It must be the last callback, so that the state of all others is that of the same step.

    Args:
        path: The checkpoint.
        every: Steps between two checkpoints.
        origin: What tells the training from others; kept in the checkpoint.
    """

    def __init__(self, path: Path, every: int, origin: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.every = every
        self.origin = dict(origin or {})
        self.restored = False
        self.seconds_before = 0.0
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return whose checkpoint it is, and how long training took; called when the checkpoint is written."""
        return {"origin": self.origin, "seconds": self.seconds_before + time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the time of the killed run; called when it goes on."""
        self.seconds_before = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that all states are restored; called once, also when a run is resumed."""
        self.restored = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Write the checkpoint where one is due, measurements first; called after every batch."""
        # From a checkpoint of the last step there is nothing to go on with: Lightning would not even end the training.
        if trainer.global_step % self.every == 0 and trainer.global_step < trainer.max_steps:
            flush(pl_module)
            for logger in trainer.loggers:
                logger.save()
            with atomic_path(self.path) as temporary:
                trainer.save_checkpoint(temporary)


def read_checkpoint(path: Path, like: Mapping[str, object], steps: int, origin: Mapping[str, str]) -> int:
    """Return the step of a checkpoint that training can go on from.

    Its whole content is compared with the checksums in it, which `torch.load` does not look at.

    Args:
        path: The checkpoint.
        like: The state of the module that it is for.
        steps: Number of training steps.
        origin: What tells the training from others.

    Raises:
        CheckpointError: It is damaged, or of another training.
        OSError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise CheckpointError(f"is damaged (the checksum of `{Path(broken).name}` differs)")
        content = torch.load(path, map_location="cpu", weights_only=True)
        check(content, _Checkpoint)
    except CheckpointError:
        raise
    except UNREADABLE as error:
        # torch's own words go on about how to load what should not be trusted.
        why = f"is damaged ({error})" if isinstance(error, MismatchError) else "is damaged or no checkpoint"
        raise CheckpointError(why) from error
    _compare(cast("_Checkpoint", content), like, steps, origin)
    return int(content["global_step"])


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
