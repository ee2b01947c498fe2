"""What DMM's table compares its result with: averages with each kind of statistics, TIES, an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hamdg.merge import merge
from hamdg.models.network import Network, Weights, frozen


class Ensemble(Network):
    """The mean of the probabilities of several networks, as scores.

    Args:
        members: The networks.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.preprocess = members[0].preprocess
        self.members = nn.ModuleList(members)
        frozen(self)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the members' probabilities [n, classes]."""
        return torch.stack([member(images).softmax(dim=1) for member in self.members]).mean(dim=0)

    def scores(self, features: Tensor) -> Tensor:
        """Return their logarithm, whose softmax they are."""
        return features.clamp_min(torch.finfo(features.dtype).tiny).log()


def averages(clients: Mapping[str, Weights], start: Weights) -> dict[str, tuple[str, dict[str, Tensor]]]:
    """Return the usual merges of all clients without any images, with their labels, by the keys of their rows."""
    return {
        "average_first": (
            "average, first client's statistics",
            merge("uniform", clients, base=start, buffers="first"),
        ),
        "average_naive": ("average, mean of statistics", merge("uniform", clients, base=start, buffers="mean")),
        "average": ("average, pooled statistics", merge("uniform", clients, base=start)),
        "ties": ("TIES, pooled statistics", merge("ties", clients, base=start)),
    }
