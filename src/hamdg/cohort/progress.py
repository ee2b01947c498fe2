"""A progress bar on a terminal, and a line now and then where the output is piped."""

from __future__ import annotations

import sys

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hamdg import console

LINES = 4
# What the losses of the sources are called on the progress bar. Lightning refuses names with `/dataloader_idx_`.
LOSS = "loss of "


def progress_callback(steps: int, quiet: bool) -> list[Callback]:
    """Return the callback that shows progress where this process writes to, or none when it shall be quiet."""
    if quiet:
        return []
    return [Bar(steps) if sys.stderr.isatty() else Lines(steps)]


def describe(metrics: dict[str, float]) -> str:
    """Return losses, enrichment rate and cosine in one line."""
    losses = [f"{name.removeprefix(LOSS)} {value:.2f}" for name, value in metrics.items() if name.startswith(LOSS)]
    parts = [f"loss {', '.join(losses)}"]
    if "added" in metrics:
        parts.append(f"added {metrics['added']:.0%}")
    if "cosine" in metrics:
        parts.append(f"cosine {metrics['cosine']:+.2f}")
    return " | ".join(parts)


def _shown(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.progress_bar_metrics.items()}


class Bar(Callback):
    """A bar with the losses, the enrichment rate and the cosine after harmonization.

    Args:
        steps: Number of training steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.task = self.progress.add_task("", total=steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the training stands; called once."""
        self.progress.update(self.task, completed=trainer.global_step)
        self.progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move the bar; called after every batch."""
        self.progress.update(self.task, completed=trainer.global_step, description=describe(_shown(trainer)))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar; called also when training was interrupted."""
        self.progress.stop()


class Lines(Callback):
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
            console.step(f"step {trainer.global_step:>5}/{self.steps} | {describe(_shown(trainer))}")
