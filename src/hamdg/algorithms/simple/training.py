"""Trains SIMPLE's adapters and matching network on outputs that were computed once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from hamdg.algorithms.simple.functional import Losses, losses, lr_factor, matched
from hamdg.algorithms.simple.pool import MatchedPool
from hamdg.config.algorithms.simple import SimpleSettings
from hamdg.data.batches import sample_positions
from hamdg.merge.history import RunningMean
from hamdg.models.labeled_features import LabeledFeatures

# Steps whose losses are kept for a curve.
_POINTS = 50


class Trained(NamedTuple):
    """What the training left.

    Args:
        last: The weights after the last step.
        average: The mean of the weights.
        steps: The steps at which losses were kept.
        losses: These losses.
    """

    last: dict[str, Tensor]
    average: dict[str, Tensor]
    steps: list[int]
    losses: list[Losses]


def train_pool(network: MatchedPool, outputs: LabeledFeatures, settings: SimpleSettings, seed: int) -> Trained:
    """Train the adapters and the matching network of a pool; its members are not run.

    Args:
        network: The pool, trained in place.
        outputs: By source domain, the members' outputs [n, sum of widths] of its training part, and the labels [n].
        settings: Optimizer, schedule, weights of the losses.
        seed: Seed of the order of the batches.
    """
    parameters = network.trainable()
    optimizer = Adam(parameters.values(), lr=settings.lr, weight_decay=settings.weight_decay)
    warmup = _pass(outputs, settings.batch_size)
    average = RunningMean()
    steps: list[int] = []
    kept: list[Losses] = []
    for step in range(settings.steps):
        features, labels = _batch(outputs, settings.batch_size, step, seed)
        raw, scores = network.matching(features)
        parts = losses(matched(raw), scores, labels)
        loss = parts.mixture + settings.member_weight * parts.members + settings.confidence_weight * parts.confidence
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * lr_factor(step, warmup, settings.decay)
        optimizer.step()
        # As published: a state stays the average until the next one takes part.
        if step + 2 >= min(settings.average_from, settings.steps + 1):
            average.update([one.detach() for one in parameters.values()])
        if step % max(settings.steps // _POINTS, 1) == 0:
            steps.append(step)
            kept.append(Losses(*(part.detach().cpu() for part in parts)))
    last = {name: one.detach().clone() for name, one in parameters.items()}
    return Trained(last, dict(zip(parameters, average.value(), strict=True)), steps, kept)


@torch.no_grad()
def mean_weights(network: MatchedPool, outputs: LabeledFeatures) -> dict[str, list[float]]:
    """Return, by domain, the mean weight of each model over its images, as they are tested."""
    found = {}
    for name, (features, _) in outputs.items():
        raw, _ = network.matching(features)
        found[name] = matched(raw, network.top).mean(dim=0).tolist()
    return found


def _pass(outputs: LabeledFeatures, batch_size: int) -> int:
    """Return how many batches one pass through the smallest domain has."""
    return max(min(len(labels) // batch_size for _, labels in outputs.values()), 1)


def _batch(outputs: LabeledFeatures, size: int, step: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the outputs and labels of a step: as many of each domain, without repetition while its images last."""
    parts = []
    for index, (own, labels) in enumerate(outputs.values()):
        chosen = sample_positions(np.arange(len(labels)), min(size, len(labels)), step, seed, index)
        at = torch.from_numpy(chosen).to(labels.device)
        parts.append((own[at], labels[at]))
    return torch.cat([own for own, _ in parts]), torch.cat([labels for _, labels in parts])
