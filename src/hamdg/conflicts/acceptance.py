"""What enrichment would accept at the start: HAM's own rule, applied before anything is trained.

All models are the same network then, so that one pass over the images is enough. Images are not augmented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hamdg.algorithms.ham import enrichment
from hamdg.config.algorithms.ham import Confidence
from hamdg.data.splits import seed_hash


class Acceptance(NamedTuple):
    """Shares of other sources' images that enrichment would accept.

    Args:
        confidence: What the rule takes for confidence.
        shares: By source whose model asks, then by source of the images.
        by_class: By source of the images, the share of each class [classes], averaged over the models that ask;
            `None` where there is no image.
        likely: By source, how likely each of its images [n] is accepted, averaged over the models that ask.
    """

    confidence: Confidence
    shares: dict[str, dict[str, float]]
    by_class: dict[str, list[float | None]]
    likely: dict[str, Tensor]


def acceptance(
    scores: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    kind: Confidence,
    batch_size: int,
    seed: int,
) -> Acceptance:
    """Return what the rule would accept, averaged over the thresholds of mini-batches.

    Args:
        scores: Of each source the scores [n, classes] of its images.
        labels: Their labels [n].
        kind: What confidence means.
        batch_size: Images of a mini-batch, whose mean confidence is a threshold.
        seed: Draws the mini-batches.
    """
    sure = {name: enrichment.confidence(own, labels[name], kind) for name, own in scores.items()}
    shares: dict[str, dict[str, float]] = {}
    sums = {name: torch.zeros(len(own), dtype=torch.float64) for name, own in sure.items()}
    for number, (model, own) in enumerate(sure.items()):
        generator = torch.Generator().manual_seed(seed_hash("acceptance", seed, number))
        order = torch.randperm(len(own), generator=generator).to(own.device)
        full = order[: max(len(own) // batch_size * batch_size, min(len(own), batch_size))]
        shares[model] = {}
        for other in (name for name in sure if name != model):
            masks = [enrichment.select(own[part], sure[other])[0] for part in torch.split(full, batch_size)]
            likely = torch.stack(masks).double().mean(dim=0).cpu()
            shares[model][other] = float(likely.mean())
            sums[other] += likely / (len(sure) - 1)
    classes = next(iter(scores.values())).shape[1]
    by_class = {name: _means(likely, labels[name].cpu(), classes) for name, likely in sums.items()}
    return Acceptance(kind, shares, by_class, sums)


def _means(values: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    own = [values[labels == label] for label in range(classes)]
    return [float(one.mean()) if len(one) else None for one in own]
