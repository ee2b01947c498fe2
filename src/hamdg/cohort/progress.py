"""A progress bar on a terminal, and a line now and then where the output is piped."""

from __future__ import annotations

import sys

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from hamdg import console
from hamdg.cohort.cohort import LOSS, Cohort, flush

LINES = 4


def progress_callback(steps: int, quiet: bool) -> list[Callback]:
    """Return the callback that shows progress where this process writes, or none when it is to be quiet."""
    if quiet:
        return []
    return [ProgressBar(steps) if sys.stderr.isatty() else ProgressLines(steps)]


def describe(module: LightningModule) -> str:
    """Return a cohort's newest losses, and what its learners and couplings want to be shown, in one line."""
    if not isinstance(module, Cohort):
        return ""
    losses = [f"{key.source} {value:.2f}" for key, value in module.latest.items() if key.name == LOSS]
    parts = [f"loss {', '.join(losses)}"]
    shown = [one.shown for one in module.learners.values()] + [one.shown for one in module.couplings]
    for word, names in {word: names for words in shown for word, names in words.items()}.items():
        found, *whole = [_values(module, name) for name in names]
        if found and whole:
            parts.append(f"{word} {sum(found) / sum(*whole):.0%}")
        elif found:
            parts.append(f"{word} {sum(found) / len(found):+.2f}")
    return " | ".join(parts)


def _values(module: Cohort, name: str) -> list[float]:
    return [value for key, value in module.latest.items() if key.name == name and not key.layer]


class ProgressBar(Callback):
    """A bar with the newest measurements.

    Args:
        steps: Number of training steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.progress = console.progress_bar()
        self.task = self.progress.add_task("", total=steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the training stands; called once."""
        self.progress.update(self.task, completed=trainer.global_step)
        self.progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move the bar; called after every batch."""
        self.progress.update(self.task, completed=trainer.global_step, description=describe(pl_module))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar; called also when training was interrupted."""
        self.progress.stop()


class ProgressLines(Callback):
    """A line at every quarter of the training.

    Args:
        steps: Number of training steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.shown = {max(1, steps * part // LINES) for part in range(1, LINES + 1)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Print the line where one is due; called after every batch."""
        if trainer.global_step in self.shown:
            flush(pl_module)
            console.step(f"step {trainer.global_step:>5}/{self.steps} | {describe(pl_module)}")
