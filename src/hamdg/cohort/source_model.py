"""One source domain's model: an image tower fine-tuned against a frozen text head."""

from __future__ import annotations

import math

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from hamdg.algorithms.ham.enrichment import cross_entropies
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, concatenate
from hamdg.models.tower import ImageTower


def schedule(step: int, warmup: int, steps: int) -> float:
    """Return the learning rate's factor at `step` (from 0): linear warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(
    groups: list[list[torch.nn.Parameter]], config: TrainConfig
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Return AdamW over one parameter group per model, and its schedule."""
    optimizer = torch.optim.AdamW(
        [{"params": group} for group in groups], lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, config.warmup, config.steps))
    return optimizer, scheduler


class SourceModel(LightningModule):
    """Fine-tunes an image tower on one source domain (or, pooled, on several).

    Args:
        tower: The image tower; it is trained in place.
        text_head: Class features [classes, d], frozen and shared by all source models.
        logit_scale: CLIP's own factor of the cosine scores.
        own: The source domains that this model learns from.
        config: Learning rate, schedule, clipping.
    """

    text_head: Tensor

    def __init__(
        self, tower: ImageTower, text_head: Tensor, logit_scale: float, own: tuple[str, ...], config: TrainConfig
    ) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("text_head", text_head, persistent=False)
        self.logit_scale = logit_scale
        self.own = own
        self.config = config
        # Lightning keeps the mode it finds, and attention rounds otherwise in evaluation mode: a resumed run must not
        # go on in another mode than the one it was killed in.
        self.train()

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that training changes, by their name in CLIP's image tower."""
        return self.tower.trainable()

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores [n, classes] of normalized images [n, 3, h, w]."""
        features: Tensor = self.tower(images)
        # In bf16 a score of 25 is only known to 1/8: too coarse for a loss, and for a threshold.
        with torch.autocast(features.device.type, enabled=False):
            return self.logit_scale * features.float() @ self.text_head.T

    def own_batch(self, batches: dict[str, Batch]) -> Batch:
        """Return the samples of the step that this model learns from in any case."""
        return concatenate([batches[name] for name in self.own])

    def training_step(self, batch: tuple[int, dict[str, Batch]], batch_idx: int) -> Tensor:
        """Return the mean cross-entropy on the own samples; used when the model is trained alone."""
        own = self.own_batch(batch[1])
        loss = cross_entropies(self(own.images), own.labels).mean()
        self.log("loss", loss, prog_bar=True, logger=False)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as in the cohort; called before every update when the model is trained alone."""
        if self.config.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(self.trainable().values()), self.config.clip_norm)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with warm-up and cosine decay, stepped every batch."""
        optimizer, scheduler = make_optimizer([list(self.trainable().values())], self.config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
