"""SCMD's learner: a student that learns from labels and from a teacher, on the samples that are hard for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hamdg.algorithms.scmd import functional
from hamdg.algorithms.scmd.functional import cross_modal_scores, hardest, selects
from hamdg.algorithms.scmd.teacher import Teacher
from hamdg.cohort.learner import Learner, Loss, ParamGroup
from hamdg.cohort.resume import CheckpointError
from hamdg.config.algorithms.scmd import ScmdSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.data.splits import seed_hash
from hamdg.models.network import Network, unmoved_statistics
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.tasks.distillation import distillation_loss
from hamdg.tracking.keys import MetricKey


class ScmdLearner(Learner):
    """Adds two distances to a frozen teacher to the cross-entropy, all of them on the same samples of a batch.

    Beside the student, a linear map into the teacher's space and the logarithm of a scale are trained.

    Args:
        network: The student.
        own: The domains that it learns from.
        config: Learning rate, schedule, clipping.
        settings: Weights of the distances, and which samples are selected, until when.
        teacher: The teacher, frozen.
        width: How many features the student has.
        seed: Seeds the start of the linear map.
    """

    # Which samples are hard is a matter of the whole batch.
    whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        own: tuple[str, ...],
        config: TrainConfig,
        settings: ScmdSettings,
        teacher: Teacher,
        width: int,
        seed: int,
    ) -> None:
        super().__init__(network, own, config)
        self.settings = settings
        self.teacher = teacher
        self.teacher_sha256 = teacher.sha256
        self.projector = nn.Parameter(fresh_projector(teacher.class_features.shape[1], width, seed))
        self.log_scale = nn.Parameter(torch.tensor(functional.START_LOG_SCALE))

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return cross-entropy and distances to the teacher, and each of them."""
        own, settings = self.own_batch(batches), self.settings
        images, labels = own.images, own.labels
        if self.selects(step):
            chosen = hardest(self._difficulty(images, labels), settings.hard_share)
            images, labels = images[chosen], labels[chosen]
        features = self.network.features(images)
        scores = self.network.scores(features)
        value = self.task.loss(scores, labels)
        parts = {"cross_entropy": value}
        # Distances that weigh nothing are not computed: what is left is plain fine-tuning, bit for bit.
        wanted = self._teacher_scores(images) if settings.logit_weight or settings.cross_modal_weight else None
        if wanted is not None and settings.logit_weight:
            parts["logits"] = distillation_loss(scores.float(), wanted, settings.temperature)
            value = value + settings.logit_weight * parts["logits"]
        if wanted is not None and settings.cross_modal_weight:
            parts["cross_modal"] = distillation_loss(self._cross_modal(features), wanted, settings.temperature)
            value = value + settings.cross_modal_weight * parts["cross_modal"]
        logs = {MetricKey(f"part/{name}"): part.detach() for name, part in parts.items()}
        scale = {MetricKey("scale"): self.log_scale.detach().exp()}
        return Loss(value, logs | scale, {MetricKey("samples"): torch.tensor(len(labels))})

    def selects(self, step: int) -> bool:
        """Return whether a step (from 0) learns from the hardest samples alone."""
        settings = self.settings
        steps = settings.selection_steps or self.config.steps
        return settings.hard_share < 1 and selects(step, steps, settings.whole_share)

    def after_update(self, batches: Mapping[str, Batch], step: int) -> None:
        """Keep the scale between 1 and 100."""
        with torch.no_grad():
            self.log_scale.clamp_(0.0, functional.MAX_LOG_SCALE)

    def parameter_groups(self) -> list[ParamGroup]:
        """Return the student and the linear map, and the scale with a learning rate of its own."""
        others = [p for p in self.parameters() if p.requires_grad and p is not self.log_scale]
        return [{"params": others}, {"params": [self.log_scale], "lr": self.settings.scale_lr}]

    def get_extra_state(self) -> dict[str, str]:
        """Return which teacher it was; called when a resumable checkpoint is written."""
        return {"teacher": self.teacher_sha256}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse another teacher; called when a killed run goes on.

        Raises:
            CheckpointError: The teacher is another one now.
        """
        if state["teacher"] != self.teacher_sha256:
            raise CheckpointError("is of a training with another teacher")

    @torch.no_grad()
    def _difficulty(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the student's cross-entropy of each sample [n], in a pass of its own that leaves nothing behind."""
        kind = images.device.type
        half = self.settings.selection_precision == "train" and torch.is_autocast_enabled(kind)
        # Copies of weights that are made without gradients must not be taken for those of the pass that follows.
        precision = torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=half, cache_enabled=False)
        with precision, unmoved_statistics(self.network):
            return CLASSIFICATION.losses(self(images), labels)

    @torch.no_grad()
    def _teacher_scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.teacher(images)
        return scores.float()

    def _cross_modal(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            projected = linear(features.float(), self.projector)
            return cross_modal_scores(projected, self.teacher.class_features, self.log_scale)


def fresh_projector(width: int, features: int, seed: int) -> Tensor:
    """Return the weight [width, features] of a linear map as torch draws it, by the seed alone."""
    generator = torch.Generator().manual_seed(seed_hash("projector", seed))
    bound = 1 / math.sqrt(features)
    return torch.empty(width, features).uniform_(-bound, bound, generator=generator)
