"""What a user sees of a training: its newest losses, wherever the run's progress is shown."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from hamdg.cohort.cohort import Cohort, flush
from hamdg.cohort.learner import LOSS
from hamdg.progress import Progress


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


class TrainingProgress(Callback):
    """Tells the progress of the run how far the training is.

    Args:
        steps: Number of training steps.
        progress: That of the run.
    """

    def __init__(self, steps: int, progress: Progress) -> None:
        self.steps = steps
        self.progress = progress

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the training stands; called once."""
        self.progress.update(trainer.global_step, self.steps)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Show the newest measurements, brought to the host where a line is due; called after every batch."""
        if self.progress.is_line_due(trainer.global_step, self.steps):
            flush(pl_module)
        self.progress.update(trainer.global_step, self.steps, lambda: describe(pl_module))
