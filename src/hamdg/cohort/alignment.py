"""Penalties on differences between the features of domains, and a learner whose loss has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# DomainBed's.
GAMMAS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2, 1e3)


def mmd(first: Tensor, second: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    """Return the squared maximum mean discrepancy of features [n, d] under a sum of Gaussian kernels.

    Args:
        first: Features of one domain.
        second: Features of another.
        gammas: Of each kernel `exp(-gamma |x - y|^2)`.
    """
    both, n = torch.cat([first, second]), len(first)
    # By differences: of features of length 1, a product's rounding is as large as the distances.
    squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    kernel = torch.stack([(-gamma * squares).exp() for gamma in gammas]).sum(dim=0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def mean_over_pairs(features: Sequence[Tensor], discrepancy: Discrepancy) -> Tensor:
    """Return the mean discrepancy of all pairs of two or more domains' features [n, d], computed in fp32."""
    # Squares of small differences need more than half precision.
    pairs = [discrepancy(first.float(), second.float()) for first, second in combinations(features, 2)]
    return torch.stack(pairs).mean()


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
        penalty = mean_over_pairs(features, self.discrepancy)
        return Loss(value + self.weight * penalty, {MetricKey("penalty"): penalty.detach()})
