"""VL2V-SD (https://arxiv.org/abs/2310.08255): a CLIP's image tower is distilled from the frozen CLIP by cosines."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from hamdg.cohort.learner import Learner, Loss
from hamdg.config.algorithms.vl2v import Vl2vSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.network import frozen
from hamdg.stages.class_features import check_frozen_class_features
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled
from hamdg.tracking.keys import MetricKey


class Vl2vLearner(Learner):
    """Learns from cosines alone: with the frozen CLIP's feature of each image, and with the text of its class.

    Args:
        network: What is trained: the image tower.
        teacher: The CLIP before training.
        own: The domains that it learns from.
        config: Learning rate, schedule, clipping.
        image_weight: Weight of the first cosine; the second has the rest.
    """

    network: ClipClassifier

    def __init__(
        self,
        network: ClipClassifier,
        teacher: ClipClassifier,
        own: tuple[str, ...],
        config: TrainConfig,
        image_weight: float,
    ) -> None:
        super().__init__(network, own, config)
        self.teacher = frozen(teacher)
        self.image_weight = image_weight

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return both cosines, weighted and with the sign that makes them grow."""
        own = self.own_batch(batches)
        features = self.network.features(own.images).float()
        image = cosine_similarity(features, self._wanted(own.images)).mean()
        text = cosine_similarity(features, self.network.class_features[own.labels]).mean()
        value = -self.image_weight * image - (1 - self.image_weight) * text
        return Loss(value, {MetricKey("cosine/image"): image.detach(), MetricKey("cosine/text"): text.detach()})

    @torch.no_grad()
    def _wanted(self, images: Tensor) -> Tensor:
        return self.teacher.features(images).float()


class Vl2v(Pooled):
    """Pooled self-distillation; the published result is the average of SWAD."""

    name = "vl2v"
    title = "VL2V-SD"
    tasks = ("classification",)
    last_row = True

    def check(self, context: Context) -> None:
        """Refuse models without frozen class features."""
        check_frozen_class_features(context)

    def learner(self, context: Context) -> Vl2vLearner:
        """Return the learner."""
        network, teacher = context.network(ClipClassifier), context.network(ClipClassifier)
        weight = context.settings(Vl2vSettings).image_weight
        return Vl2vLearner(network, teacher, context.sources, context.recipe.train, weight)
