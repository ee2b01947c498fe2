"""The mean of several models' probabilities: what a merge would be if it cost nothing to run them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hamdg.models.network import Network, frozen


class Ensemble(Network):
    """Several networks of one kind, whose probabilities are averaged; its weights are theirs and never change.

    Args:
        members: The networks, weights in them.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.preprocess = members[0].preprocess
        self.members = nn.ModuleList(members)
        frozen(self)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the probabilities [n, classes] or [n, classes, h, w]."""
        return torch.stack([member(images).float().softmax(dim=1) for member in self.members]).mean(dim=0)

    def scores(self, features: Tensor) -> Tensor:
        """Return their logarithms."""
        return features.clamp_min(torch.finfo(features.dtype).tiny).log()
