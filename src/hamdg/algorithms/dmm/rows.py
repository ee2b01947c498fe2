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
    first = merge("uniform", clients, base=start, buffers="first")
    return {
        "average_first": ("average, first client's statistics", first),
        "average_naive": ("average, mean of statistics", first | mean_statistics(clients)),
        "average": ("average, pooled statistics", merge("uniform", clients, base=start)),
        "ties": ("TIES, pooled statistics", merge("ties", clients, base=start)),
    }


def mean_statistics(clients: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Return the plain means of BatchNorm's running means and variances: a variance that is too small.

    That of the mixture, which `buffers: moments` gives, also has the variance between the clients' means.
    """
    first = next(iter(clients.values()))
    names = [name for name in first if name.rpartition(".")[2] in ("running_mean", "running_var")]
    return {name: torch.stack([own[name] for own in clients.values()]).mean(dim=0) for name in names}
