"""A learner whose loss has a penalty on differences between the features of its domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from hamdg.cohort.learner import Learner, Loss
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.models.network import Network
from hamdg.tracking.keys import MetricKey

# Of the features [n, d] of two domains, how far they are apart (0-d).
Discrepancy = Callable[[Tensor, Tensor], Tensor]


class AlignmentLearner(Learner):
    """Adds the mean discrepancy over all pairs of its domains to the mean of the domains' losses, as DomainBed does.

    Args:
        network: What is trained.
        own: The domains that it learns from; with one there is no penalty.
        config: Learning rate, schedule, clipping.
        discrepancy: How far the features of two domains are apart.
        weight: Weight of the penalty.
    """

    # Moments and kernels of a part of the batch are not those of the whole.
    whole_batch: ClassVar[bool] = True

    def __init__(
        self, network: Network, own: tuple[str, ...], config: TrainConfig, discrepancy: Discrepancy, weight: float
    ) -> None:
        super().__init__(network, own, config)
        self.discrepancy = discrepancy
        self.weight = weight

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the mean loss of the domains, plus the weighted mean discrepancy of their pairs."""
        own = [batches[name] for name in self.own]
        whole = self.network.features(torch.cat([batch.images for batch in own]))
        features = torch.split(whole, [len(batch.images) for batch in own])
        scores = [self.network.scores(one) for one in features]
        losses = [self.task.loss(one, batch.labels) for one, batch in zip(scores, own, strict=True)]
        value = torch.stack(losses).mean()
        if len(own) < 2:
            return Loss(value)
        # Squares of small differences need more than half precision.
        pairs = [self.discrepancy(first.float(), second.float()) for first, second in combinations(features, 2)]
        penalty = torch.stack(pairs).mean()
        return Loss(value + self.weight * penalty, {MetricKey("penalty"): penalty.detach()})
