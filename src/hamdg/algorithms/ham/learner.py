"""HAM's learner: samples of the other domains join its loss (SAE)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from hamdg.algorithms.ham import enrichment
from hamdg.algorithms.ham.sample_log import Sample, SampleLog
from hamdg.cohort.learner import Learner, Loss
from hamdg.config.algorithms.ham import EnrichmentConfig
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, concatenate
from hamdg.merge.history import steps_before
from hamdg.models.network import Network, has_batchnorm, unmoved_statistics
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.tracking.keys import MetricKey


class HamLearner(Learner):
    """Learns from its own domain, and from samples of the others that it is sure enough of.

    Args:
        name: The learner's name, for the samples that it keeps.
        network: What is trained.
        own: The domains that it learns from in any case.
        config: Learning rate, schedule, clipping.
        enrichment_config: Which samples of the other domains join the loss.
        noise_known: Whether wrong labels are known, so that the precision of the enrichment can be measured.
    """

    # The threshold is the mean confidence on its own mini-batch, over all processes.
    whole_batch: ClassVar[bool] = True
    gathers: ClassVar[bool] = True
    shown: ClassVar[Mapping[str, tuple[str, ...]]] = {"added": ("enrichment/added", "enrichment/candidates")}

    def __init__(
        self,
        name: str,
        network: Network,
        own: tuple[str, ...],
        config: TrainConfig,
        enrichment_config: EnrichmentConfig,
        noise_known: bool = False,
    ) -> None:
        super().__init__(network, own, config)
        self.name = name
        self.enrichment = enrichment_config
        self.noise_known = noise_known
        # The first step, from 0, with enrichment.
        self.first = steps_before(enrichment_config.start, config.steps)
        self.samples = SampleLog(config.steps, self.first)

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the cross-entropy on own and accepted samples, and how many were accepted."""
        others = [domain for domain in batches if domain not in self.own]
        if not self.enrichment.enabled or not others or step < self.first:
            return super().loss(batches, step)
        own, pool = self.own_batch(batches), concatenate([batches[domain] for domain in others])
        kind = self.enrichment.confidence
        scores = self._looked_at(own.images) if self._as_one_batch else self(own.images)
        confidences = enrichment.confidence(self._looked_at(pool.images), pool.labels, kind)
        own_confidences = enrichment.confidence(scores, own.labels, kind)
        mask, threshold = enrichment.select(own_confidences, confidences, self.peers)
        sizes = [len(batches[domain].positions) for domain in others]
        if kind == "random":
            mask = enrichment.drawn(mask, sizes)
        if step in self.samples.moments:
            self._keep_samples(
                step, dict(zip(others, sizes, strict=True)), pool.positions, confidences, mask, threshold
            )
        # The only place where the host waits for the device: how many samples there are decides about the next pass.
        chosen = torch.nonzero(mask)[:, 0]
        own_losses, added = self._losses(own, scores, pool.images[chosen], pool.labels[chosen])
        combine = self.enrichment.combine
        value = enrichment.combined_loss(own_losses, added, combine, self.peers)
        weight = enrichment.weight(len(own_losses), len(added), combine)
        logs = {MetricKey("enrichment/threshold"): threshold}
        return Loss(value, logs, self._counts(pool, mask), weight)

    @property
    def _as_one_batch(self) -> bool:
        """Whether own and accepted samples are one batch: by themselves, BatchNorm would normalize the few accepted."""
        return self.network.live_statistics and has_batchnorm(self.network)

    @torch.no_grad()
    def _looked_at(self, images: Tensor) -> Tensor:
        """Return the scores of images that are only looked at: the network's statistics are not of these."""
        with unmoved_statistics(self.network):
            scores: Tensor = self(images)
        return scores

    def _losses(self, own: Batch, scores: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of own samples, which have these scores, and of accepted ones."""
        if self._as_one_batch:
            every = CLASSIFICATION.losses(self(torch.cat([own.images, images])), torch.cat([own.labels, labels]))
            return every[: len(scores)], every[len(scores) :]
        losses = CLASSIFICATION.losses(scores, own.labels)
        return losses, CLASSIFICATION.losses(self(images), labels) if len(images) else losses[:0]

    def _keep_samples(
        self,
        step: int,
        sizes: Mapping[str, int],
        positions: Tensor,
        confidences: Tensor,
        mask: Tensor,
        threshold: Tensor,
    ) -> None:
        """Keep some of the candidates of all processes, in the order that they have in the whole batch."""
        parts = [torch.split(values.cpu(), list(sizes.values())) for values in (positions, confidences, mask)]
        own = {domain: columns for domain, *columns in zip(sizes, *parts, strict=True)}
        everyone = self.peers.everyone(own)
        domains = [domain for domain in sizes for one in everyone for _ in one[domain][0]]
        where, sure, accepted = (torch.cat([one[domain][k] for domain in sizes for one in everyone]) for k in range(3))
        self.samples.record(step, self.name, domains, where, sure, accepted, threshold)

    def _counts(self, pool: Batch, mask: Tensor) -> dict[MetricKey, Tensor]:
        counts = {"candidates": torch.tensor(len(mask)), "added": mask.sum()}
        if self.noise_known:
            noisy = pool.labels != pool.clean_labels
            counts |= {"noisy_candidates": noisy.sum(), "noisy_added": (noisy & mask).sum()}
        return {MetricKey(f"enrichment/{kind}"): value for kind, value in counts.items()}

    def get_extra_state(self) -> list[dict[str, Any]]:
        """Return the samples that were kept; called when a resumable checkpoint is written."""
        return self.samples.state_dict()

    def set_extra_state(self, state: list[dict[str, Any]]) -> None:
        """Take them over; called when a killed run goes on."""
        self.samples.load_state_dict(state)


def kept_samples(learners: Iterable[Learner]) -> list[Sample]:
    """Return the samples of all learners of a cohort, by step, then by learner."""
    found = [sample for one in learners if isinstance(one, HamLearner) for sample in one.samples.samples]
    return sorted(found, key=lambda sample: sample.step)
