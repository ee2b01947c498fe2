"""Puts the weights of any entry into its network and predicts with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from hamdg.cohort.validation import CHUNK
from hamdg.data.preprocess import Preprocess
from hamdg.data.subset import Subset
from hamdg.models.network import Network, Weights
from hamdg.tasks.base import Task

# Images that are read, once, for all models; a multiple of what a network is given at a time.
READ = 8 * CHUNK


class Scored(NamedTuple):
    """A model to score: weights, and the network that they belong to; several may share one."""

    network: Network
    weights: Weights


class ScoredBatch(NamedTuple):
    """Scores [n, classes] of one model, the labels [n], and the position of the first image in the subset."""

    model: int
    scores: Tensor
    labels: Tensor
    start: int


class Scorer:
    """Predicts with one model after another.

    Each one's weights are laid over the state that its network came with: what they lack is the network's own, and not
    what the model before left.

    Args:
        device: Where networks are put.
        preprocess: What the networks expect of their images.
        half: Whether they compute in bf16, as in training.
    """

    def __init__(self, device: torch.device, preprocess: Preprocess, half: bool = False) -> None:
        self.device = device
        self.preprocess = preprocess
        self.half = half
        self._own: dict[int, dict[str, Tensor]] = {}

    def put(self, model: Scored) -> Network:
        """Return the network with the weights in it, until the next ones come."""
        network, key = model.network, id(model.network)
        if key not in self._own:
            network.to(self.device).eval()
            self._own[key] = {name: tensor.detach().clone() for name, tensor in network.weights().items()}
        network.load({**self._own[key], **model.weights})
        return network

    @torch.no_grad()
    def scores(self, models: Sequence[Scored], part: Subset) -> Iterator[ScoredBatch]:
        """Yield every model's scores, in batches that bound the memory; each image is read once for all of them."""
        start = 0
        for images, labels in part.parts(READ):
            images = images.to(self.device)
            for number, model in enumerate(models):
                network = self.put(model)
                for offset in range(0, len(images), CHUNK):
                    chosen = slice(offset, offset + CHUNK)
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                        scores = network(self.preprocess(images[chosen]))
                    yield ScoredBatch(number, scores, labels[chosen], start + offset)
            start += len(images)

    def validation(self, models: Sequence[Scored], parts: Mapping[str, Subset], task: Task) -> list[float]:
        """Return every model's primary metric, as its mean over hold-out sets, against the labels that a user has."""
        return [sum(own.values()) / len(parts) for own in self.by_domain(models, parts, task)]

    def by_domain(self, models: Sequence[Scored], parts: Mapping[str, Subset], task: Task) -> list[dict[str, float]]:
        """Return every model's primary metric on each of some subsets, against the labels that these have."""
        values: list[dict[str, float]] = [{} for _ in models]
        # One a model: to make a metric takes longer than to score a few images.
        metrics: dict[int, Metric] = {}
        for name, part in parts.items():
            for batch in self.scores(models, part):
                if batch.model not in metrics:
                    metrics[batch.model] = task.metrics(batch.scores.shape[1])[task.primary]
                metrics[batch.model].update(batch.scores.cpu(), batch.labels.cpu())
            for model, metric in metrics.items():
                if metric.update_called:
                    values[model][name] = float(metric.compute())
                    metric.reset()
        return values
