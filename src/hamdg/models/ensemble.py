"""The mean of what several models predict: what a merge would be if it cost nothing to run them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hamdg.models.network import Network, frozen

Mean = Literal["probabilities", "logits"]


class Ensemble(Network):
    """Several networks of one kind, whose predictions are averaged; its weights are theirs and never change.

    Args:
        members: The networks, weights in them.
        mean: What is averaged: probabilities, or the scores before the softmax, where sure members count more.
    """

    def __init__(self, members: Sequence[Network], mean: Mean = "probabilities") -> None:
        super().__init__()
        self.preprocess = members[0].preprocess
        self.members = nn.ModuleList(members)
        self.mean = mean
        frozen(self)

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the probabilities or logits [n, classes] or [n, classes, h, w]."""
        scores = [member(images).float() for member in self.members]
        return torch.stack([one.softmax(dim=1) if self.mean == "probabilities" else one for one in scores]).mean(dim=0)

    def scores(self, features: Tensor) -> Tensor:
        """Return the logarithms of probabilities; logits as they are."""
        if self.mean == "logits":
            return features
        return features.clamp_min(torch.finfo(features.dtype).tiny).log()
