"""CLIPood (https://arxiv.org/abs/2302.00864): a softmax with margins by the distance of texts, and the Beta average."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hamdg.cohort.learner import Learner, Loss
from hamdg.config.algorithms.clipood import ClipoodSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.stages.class_features import check_frozen_class_features
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


def with_margin(features: Tensor, class_features: Tensor, labels: Tensor, margin: float) -> Tensor:
    r"""Return $f - \lambda t_y$: features [n, d] that are further from their own class, and not normalized again.

    Their scores are those of the features less $s \lambda \langle t_y, t_c \rangle$, so that the own class has to win
    by a margin of $s \lambda (1 - \langle t_y, t_c \rangle)$: the larger, the further the texts are from each other.

    Args:
        features: Image features [n, d] of length 1.
        class_features: Class features [classes, d] of length 1.
        labels: The class [n] of each image.
        margin: The factor.
    """
    return features - margin * class_features[labels]


class ClipoodLearner(Learner):
    """Learns from the scores of features that a margin was taken off.

    Args:
        network: What is trained: the image tower.
        own: The domains that it learns from.
        config: Learning rate, schedule, clipping.
        margin: How much of its own class is taken off each feature; 0 is plain fine-tuning, bit for bit.
    """

    network: ClipClassifier

    def __init__(self, network: ClipClassifier, own: tuple[str, ...], config: TrainConfig, margin: float) -> None:
        super().__init__(network, own, config)
        self.margin = margin

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the cross-entropy with the margin."""
        own, network = self.own_batch(batches), self.network
        features = with_margin(network.features(own.images), network.class_features, own.labels, self.margin)
        return Loss(self.task.loss(network.scores(features), own.labels))


class Clipood(Pooled):
    """Pooled fine-tuning with a margin; the published result is the Beta average of all its states."""

    name = "clipood"
    title = "CLIPood"
    tasks = ("classification",)
    last_row = True

    def check(self, context: Context) -> None:
        """Refuse models without frozen class features."""
        check_frozen_class_features(context)

    def learner(self, context: Context) -> ClipoodLearner:
        """Return the learner."""
        margin = context.settings(ClipoodSettings).margin
        return ClipoodLearner(context.network(ClipClassifier), context.sources, context.recipe.train, margin)
