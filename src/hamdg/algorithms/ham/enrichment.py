"""SAE: which samples of the other source domains join a model's batch.

The rule is the published one (https://arxiv.org/abs/2506.09446): at every step the threshold of a model is its mean
confidence on its own mini-batch, and samples of the other sources with a confidence above it join the loss. What
"confidence" means, and how own and added samples are weighted, is not published; both are options here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hamdg.cohort.peers import ALONE, Peers
from hamdg.config.algorithms.ham import Combine, Confidence


def confidence(logits: Tensor, labels: Tensor, kind: Confidence) -> Tensor:
    """Return each sample's confidence: the probability of its label, or the largest probability.

    Args:
        logits: Scores [n, classes].
        labels: Labels [n] (used by all but `max_probability`).
        kind: `true_class` or `max_probability`; `random` counts by `true_class`.

    Returns:
        Confidences [n] in float32, without gradient.
    """
    probabilities = logits.detach().float().softmax(dim=1)
    if kind == "max_probability":
        return probabilities.amax(dim=1)
    return probabilities.gather(1, labels[:, None])[:, 0]


def select(own: Tensor, others: Tensor, peers: Peers = ALONE) -> tuple[Tensor, Tensor]:
    """Return which of the other domains' samples are accepted, and the threshold.

    Args:
        own: Confidences [n] on the model's own mini-batch, or on this process's part of it.
        others: Confidences [m] on the candidates.
        peers: The processes that have the other parts of the batch; the threshold is the mean over all of them.

    Returns:
        A boolean mask [m], true where the confidence is strictly above the threshold, and the threshold (0-d).
    """
    if peers.count == 1:
        threshold = own.mean()
    else:
        total, count = peers.total(torch.stack([own.sum(), own.new_tensor(len(own))]))
        threshold = total / count
    return others > threshold, threshold


def drawn(mask: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return as many samples of each domain as are accepted, drawn at random by torch's generator.

    Args:
        mask: Which samples are accepted [m], domain by domain.
        sizes: How many of them are of each domain.
    """
    parts = []
    for own in torch.split(mask, list(sizes)):
        ranks = torch.rand(len(own), device=mask.device).argsort().argsort()
        parts.append(ranks < own.sum())
    return torch.cat(parts)


def combined_loss(own: Tensor, added: Tensor, combine: Combine, peers: Peers = ALONE) -> Tensor:
    """Return the loss over own and added samples; its mean over processes, by `weight`, is that of the whole batch.

    Args:
        own: Cross-entropies [n] of the own samples.
        added: Cross-entropies [k] of the accepted samples; may be empty.
        combine: `mean` (one mean over all) or `sum` (mean of own plus mean of added).
        peers: The processes that have the other parts of the batch.
    """
    if combine == "sum" and peers.count > 1:
        all_own, all_added = peers.total(own.new_tensor([len(own), len(added)]))
        # Its part of the added samples' mean, enlarged by what the weight of this process takes off.
        part: Tensor = added.sum() / all_added.clamp(min=1) * (all_own / len(own))
        return own.mean() + part
    if added.numel() == 0:
        return own.mean()
    if combine == "mean":
        return torch.cat([own, added]).mean()
    return own.mean() + added.mean()


def weight(own: int, added: int, combine: Combine) -> float:
    """Return of how many samples the combined loss is the mean.

    Args:
        own: How many own samples there are.
        added: How many accepted ones.
        combine: As for `combined_loss`.
    """
    return float(own + added if combine == "mean" else own)
