"""Steps outside of a Trainer that show how far they are, and that a killed process goes on with."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch

from hamdg.cohort.resume import UNREADABLE, CheckpointError
from hamdg.errors import TrainingError
from hamdg.files import atomic_path
from hamdg.stages.context import Context
from hamdg.text import duration

State = Mapping[str, Any]
"""What a loop goes on from: tensors, numbers, text, and lists and mappings of them."""


class Loop:
    """Counts steps, writes `resume.ckpt` as training does, and tells the progress of the run.

    Args:
        context: The step's context.
        steps: How many steps there are.
        resumable: Whether it goes on where it was killed; the loops of a step that has several begin again.
    """

    def __init__(self, context: Context, steps: int, *, resumable: bool = True) -> None:
        self.steps = steps
        self.resumable = resumable
        self._context = context
        self._path = context.files.resume
        self._origin = {"step": context.identity, "start_sha256": context.start_sha256}
        self._began = self._newest = time.monotonic()
        self._first = 0
        self._before = 0.0

    def resumed(self) -> State | None:
        """Return what a killed process left; nothing where the loop begins.

        Raises:
            CheckpointError: If that is damaged, or of another step.
        """
        if not self.resumable or not self._path.exists():
            return None
        try:
            with zipfile.ZipFile(self._path) as archive:
                if archive.testzip():
                    raise CheckpointError("is damaged (a checksum differs)")
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            step, origin, state, seconds = (found[key] for key in ("global_step", "origin", "state", "seconds"))
        except CheckpointError:
            raise
        except UNREADABLE as error:
            raise CheckpointError("is damaged or no checkpoint") from error
        if origin != self._origin or not 0 < step <= self.steps:
            raise CheckpointError("is of another step")
        self._first, self._before = step, seconds
        self._context.spent.append(seconds)
        loaded: State = state
        return loaded

    def done(self, step: int, loss: float, text: str, state: Callable[[], State]) -> None:
        """Note that a step is done, and keep its state where that is due.

        Args:
            step: How many steps are done.
            loss: The step's loss.
            text: What was measured.
            state: Returns what to go on from.

        Raises:
            TrainingError: If the loss is not finite.
        """
        if loss != loss or abs(loss) == float("inf"):
            name = self._context.current
            raise TrainingError(
                f"the loss of the step `{name}` became {loss} at step {step}; nothing was overwritten. Lower "
                f"`dmm.{name}.lr`."
            )
        self._context.progress.update(step, self.steps, lambda: f"{text}{self._left(step)}")
        if self.resumable and self._is_due(step):
            seconds = self._before + time.monotonic() - self._began
            content = {"global_step": step, "origin": self._origin, "state": state(), "seconds": seconds}
            with atomic_path(self._path) as temporary:
                torch.save(content, temporary)
            self._newest = time.monotonic()

    def _is_due(self, step: int) -> bool:
        runtime = self._context.recipe.runtime
        by_steps = runtime.checkpoint_every is not None and step % runtime.checkpoint_every == 0
        return by_steps or time.monotonic() - self._newest >= 60 * runtime.checkpoint_minutes

    def _left(self, step: int) -> str:
        """Return how long the rest of the loop will take at the pace of this process."""
        own = step - self._first
        if own < 1 or step >= self.steps:
            return ""
        rest = (time.monotonic() - self._began) / own * (self.steps - step)
        return f" | {duration(rest)} for the rest of this step"
