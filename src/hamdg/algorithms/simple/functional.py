"""The formulas of SIMPLE, after its published code (https://github.com/microsoft/SeqML)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

# Steps between two reductions of the learning rate.
_EVERY = 100


class Losses(NamedTuple):
    """The parts of the loss (0-d).

    Args:
        mixture: Cross-entropy of the mixture.
        members: Mean over images and models of the models' own cross-entropies, weighted.
        confidence: Binary cross-entropy between the weights and the models' probabilities of the true class.
    """

    mixture: Tensor
    members: Tensor
    confidence: Tensor


def matched(raw: Tensor, top: int | None = None) -> Tensor:
    """Return weights [n, K] that add up to 1 of non-negative ones, all or the `top` largest of each row."""
    if top is not None and top < raw.shape[1]:
        chosen = raw.topk(top, dim=1).indices
        raw = torch.zeros_like(raw).scatter(1, chosen, raw.gather(1, chosen))
    return normalize(raw, p=1.0, dim=1)


def mixture(weights: Tensor, scores: Tensor) -> Tensor:
    """Return the mean scores [n, C] of models with scores [n, K, C], by the weights [n, K] of each image."""
    return (weights.unsqueeze(2) * scores).sum(dim=1)


def losses(weights: Tensor, scores: Tensor, labels: Tensor) -> Losses:
    """Return the parts of the loss of a batch.

    Weights go through a softmax in the second and the third part. The target of the third is the softmax, over models,
    of the softmax over models of the probability of the true class: twice, as in the published code.

    Args:
        weights: The weights [n, K] of the models for each image, which add up to 1.
        scores: The models' scores [n, K, C].
        labels: The classes [n].
    """
    n, models, _ = scores.shape
    every = labels.unsqueeze(1).expand(n, models)
    own = cross_entropy(scores.flatten(0, 1), every.flatten(), reduction="none").view(n, models)
    soft = weights.softmax(dim=1)
    true = scores.detach().softmax(dim=2).gather(2, every.unsqueeze(2)).squeeze(2)
    target = true.softmax(dim=1).softmax(dim=1)
    return Losses(
        cross_entropy(mixture(weights, scores), labels),
        (own * soft).mean(),
        binary_cross_entropy_with_logits(soft, target),
    )


def lr_factor(step: int, warmup: int, decay: float) -> float:
    """Return what the learning rate of a step, counted from 0, is multiplied by: a line from 0, then stairs."""
    return step / warmup if step < warmup else decay ** ((step - warmup) // _EVERY)
