"""Writes the one checkpoint that a killed run goes on from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from hamdg.files import atomic_path


class Resume(Callback):
    """Replaces `checkpoints/resume.ckpt` every few steps.

    It must be the last callback, so that the state of all others is that of the same step.

    Args:
        path: The checkpoint.
        every: Steps between two checkpoints.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.seconds_before = 0.0
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return how long training took so far; called when the checkpoint is written."""
        return {"seconds": self.seconds_before + time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the time of the killed run; called when it goes on."""
        self.seconds_before = state_dict["seconds"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Write the checkpoint where one is due, measurements first; called after every batch."""
        # From a checkpoint of the last step there is nothing to go on with: Lightning would not even end the training.
        if trainer.global_step % self.every == 0 and trainer.global_step < trainer.max_steps:
            for logger in trainer.loggers:
                logger.save()
            with atomic_path(self.path) as temporary:
                trainer.save_checkpoint(temporary)
