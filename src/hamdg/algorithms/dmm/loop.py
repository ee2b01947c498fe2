"""Steps outside of a Trainer that show how far they are, and that a killed process goes on with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from hamdg.cohort.resume import CheckpointError, Interval, load_checkpoint, write_checkpoint
from hamdg.errors import TrainingError
from hamdg.stages.context import Context
from hamdg.text import duration

State = Mapping[str, Any]
"""What a loop goes on from: tensors, numbers, text, and lists and mappings of them."""


class _Checkpoint(TypedDict):
    global_step: int
    origin: dict[str, str]
    state: dict[str, object]
    seconds: float


class Loop:
    """Counts steps, writes `resume.ckpt` as training does, and tells the progress of the run.

    Args:
        context: The step's context.
        steps: How many steps there are.
        lr: The key of the learning rate, for the message of a loss that is not finite.
        resumable: Whether it goes on where it was killed; the loops of a step that has several begin again.
    """

    def __init__(self, context: Context, steps: int, lr: str, *, resumable: bool = True) -> None:
        self.steps = steps
        self.resumable = resumable
        self._lr = lr
        self._context = context
        self._path = context.files.resume
        self._origin = {"step": context.identity, "start_sha256": context.start_sha256}
        runtime = context.recipe.runtime
        self._interval = Interval(runtime.checkpoint_every, runtime.checkpoint_minutes)
        self._began = time.monotonic()
        self._first = 0
        self._before = 0.0

    def resumed(self) -> State | None:
        """Return what a killed process left; nothing where the loop begins.

        Raises:
            CheckpointError: If that is damaged, or of another step.
        """
        if not self.resumable or not self._path.exists():
            return None
        found = load_checkpoint(self._path, _Checkpoint)
        if found["origin"] != self._origin or not 0 < found["global_step"] <= self.steps:
            raise CheckpointError("is of another step")
        self._first, self._before = found["global_step"], found["seconds"]
        self._context.spent.append(self._before)
        return found["state"]

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
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of the step `{self._context.current}` became {loss} at step {step}; nothing was "
                f"overwritten. Lower `{self._lr}`."
            )
        self._context.progress.update(step, self.steps, lambda: f"{text}{self._left(step)}")
        if self.resumable and self._interval.ends(step):
            seconds = self._before + time.monotonic() - self._began
            content = _Checkpoint(global_step=step, origin=self._origin, state=dict(state()), seconds=seconds)
            write_checkpoint(content, self._path)
            self._interval.begin()

    def _left(self, step: int) -> str:
        """Return how long the rest of the loop will take at the pace of this process."""
        own = step - self._first
        if own < 1 or step >= self.steps:
            return ""
        rest = (time.monotonic() - self._began) / own * (self.steps - step)
        return f" | {duration(rest)} for the rest of this step"
