"""The merge itself: a mean of weights and a mixture of statistics, with or without the heads. It needs no data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from hamdg.merge import merge
from hamdg.merge.buffers import is_buffer
from hamdg.merge.geometry import norm, task_vectors
from hamdg.models.network import Weights

Buffers = Literal["moments", "mean", "first"]
BUFFERS: tuple[Buffers, ...] = ("first", "mean", "moments")
_MEAN, _VARIANCE = "running_mean", "running_var"


def merge_targets(models: Mapping[str, Weights], buffers: Buffers) -> dict[str, Tensor]:
    """Return the mean of all weights, with the statistics that `hamdg.merge.buffers` makes of the models' own."""
    return merge("uniform", models, buffers=buffers)


def with_head(backbone: Weights, own: Weights, prefix: str) -> dict[str, Tensor]:
    """Return a model with the head of another one.

    Args:
        backbone: The model.
        own: The one whose head it gets.
        prefix: What the names of the head's tensors begin with.
    """
    return {name: own[name] if name.startswith(prefix) else tensor for name, tensor in backbone.items()}


def start_distance(starts: Mapping[str, Weights]) -> float:
    """Return how far apart the starts of models lie, as the largest distance of two in the first one's norm.

    Models from one start have 0. Those that were trained from different random weights have 0.9 to 1.4, and their mean
    is no model: 0.7 is what the merge library warns from.
    """
    found = 0.0
    for one, other in combinations(starts.values(), 2):
        between = norm(task_vectors({"": other}, one)[""])
        own = norm({name: tensor for name, tensor in one.items() if not is_buffer(name, tensor)})
        found = max(found, between / own if own else 0.0)
    return found


def between_and_within(models: Mapping[str, Weights]) -> dict[str, float]:
    """Return what pooled statistics add to averaged ones: by layer, the variance between means over that within.

    Both are means over the channels; where the ratio is small, averaged statistics are as good as pooled ones.
    """
    found = {}
    for name in next(iter(models.values())):
        layer, _, kind = name.rpartition(".")
        if kind == _MEAN and all(f"{layer}.{_VARIANCE}" in own for own in models.values()):
            means = torch.stack([own[name].double() for own in models.values()])
            variances = torch.stack([own[f"{layer}.{_VARIANCE}"].double() for own in models.values()])
            between, within = float(means.var(dim=0, correction=0).mean()), float(variances.mean())
            # Channels that are never active have neither.
            found[layer] = between / within if within else 0.0
    return found
