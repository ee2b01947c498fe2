"""Self-training of a student by a mean teacher (https://arxiv.org/abs/1703.01780) on images without labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hamdg.algorithms.mtda.views import strong_view
from hamdg.cohort.learner import Learner, Loss
from hamdg.config.algorithms.mtda import AdaptConfig
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, concatenate
from hamdg.models.batchnorm import normalize_by_batch, set_momentum
from hamdg.models.network import Network
from hamdg.tasks.base import Task
from hamdg.tracking.keys import MetricKey

ACCEPTED, CONFIDENCE = "pseudo_labels/accepted", "pseudo_labels/confidence"


class PseudoLabels(NamedTuple):
    """What a teacher says of images, or of their pixels.

    Args:
        labels: Classes [n] or [n, h, w].
        confidence: The probabilities of these classes, of the same shape.
    """

    labels: Tensor
    confidence: Tensor


def pseudo_labels(scores: Tensor) -> PseudoLabels:
    """Return the most probable class of scores [n, c] or [n, c, h, w], and its probability."""
    confidence, labels = scores.float().softmax(dim=1).max(dim=1)
    return PseudoLabels(labels, confidence)


def self_training_loss(scores: Tensor, given: PseudoLabels, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the loss on confident pseudo-labels, and the share of these.

    The loss is FixMatch's (https://arxiv.org/abs/2001.07685): cross-entropy where the teacher is confident and 0
    elsewhere, averaged over all images, or pixels.

    Args:
        scores: The student's [n, c] or [n, c, h, w].
        given: The teacher's labels.
        threshold: The least confidence that counts.
    """
    accepted = (given.confidence >= threshold).float()
    losses = cross_entropy(scores.float(), given.labels, reduction="none")
    return (accepted * losses).mean(), accepted.mean()


class SelfTraining(Learner):
    """Adapts a network to one target, or to several at once; the student is the result.

    The teacher sees the weak view (the run's augmentation) and normalizes by the batch, since the statistics of a
    source are wrong on a target. The student sees the strong view. The teacher's weights follow the student's as a
    moving average; its own running statistics are never used.

    Args:
        network: The student, which starts from the source model; so does the teacher.
        targets: The domains that it adapts to.
        config: Learning rate, schedule, clipping.
        adapt: Threshold, teacher, and momentum of the statistics.
        task: The loss on labeled batches.
        sources: The domains whose labeled batches it trains on, too.
        apart: Whether each target's batch goes through the network alone, and is normalized alone.
    """

    # What BatchNorm does to an image depends on the others in its batch.
    whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        targets: tuple[str, ...],
        config: TrainConfig,
        adapt: AdaptConfig,
        task: Task,
        *,
        sources: tuple[str, ...] = (),
        apart: bool = False,
    ) -> None:
        super().__init__(network, targets, config, task)
        self.adapt = adapt
        self.sources = sources
        self.apart = apart
        set_momentum(network, adapt.momentum)
        self.teacher = copy.deepcopy(network).requires_grad_(False)

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the loss on the teacher's labels and, where there are labeled batches, on theirs.

        A learner that is done while others go on sees no more images: neither weights nor statistics move.
        """
        if step >= self.config.steps:
            return Loss(torch.stack([0 * one.flatten()[0] for one in self.network.parameters()]).sum())
        parts = [batches[name].images for name in self.own] if self.apart else [self.own_batch(batches).images]
        found = [self._on(images) for images in parts]
        value, accepted, confidence = (torch.stack(values).mean() for values in zip(*found, strict=True))
        if self.sources:
            labeled = concatenate([batches[name] for name in self.sources])
            value = value + self.task.loss(self(labeled.images), labeled.labels)
        return Loss(value, {MetricKey(ACCEPTED): accepted, MetricKey(CONFIDENCE): confidence})

    def _on(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the share of accepted labels and the mean confidence on one batch."""
        with torch.no_grad():
            normalize_by_batch(self.teacher)
            given = pseudo_labels(self.teacher(images))
        scores = self(strong_view(images, self.network.preprocess, self.adapt.strength))
        loss, accepted = self_training_loss(scores, given, self.adapt.threshold)
        return loss, accepted, given.confidence.mean()

    @torch.no_grad()
    def after_update(self, batches: Mapping[str, Batch], step: int) -> None:
        """Move the teacher towards the student."""
        if step >= self.config.steps:
            return
        teacher, student = ([one.detach() for one in own.parameters()] for own in (self.teacher, self.network))
        torch._foreach_lerp_(teacher, student, 1 - self.adapt.decay)
