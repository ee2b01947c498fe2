"""BatchNorm's statistics: normalize by the batch, given a momentum, measured anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.models.network import Network, Weights, statistics


def batchnorms(module: nn.Module) -> Iterator[_BatchNorm]:
    """Yield all BatchNorm layers."""
    return (layer for layer in module.modules() if isinstance(layer, _BatchNorm))


def normalize_by_batch(module: nn.Module) -> None:
    """Put a network into evaluation mode, but for BatchNorm, which normalizes by the batch and moves its statistics."""
    module.eval()
    for layer in batchnorms(module):
        layer.train()


def set_momentum(module: nn.Module, momentum: float) -> None:
    """Set the share of a batch in all running statistics."""
    for layer in batchnorms(module):
        layer.momentum = momentum


@torch.no_grad()
def reestimated(network: Network, weights: Weights, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the statistics that a model has on some images: plain means over the batches of means and variances.

    Nothing is trained. The network is left in evaluation mode with these weights and statistics in it.

    Args:
        network: The network.
        weights: Its weights; statistics among them do not matter.
        batches: Normalized images [n, 3, h, w] each.
    """
    network.load(weights)
    body = network.eval().body
    normalize_by_batch(body)
    before = [layer.momentum for layer in batchnorms(body)]
    for layer in batchnorms(body):
        layer.reset_running_stats()
        # Every batch counts alike.
        layer.momentum = None
    for images in batches:
        network(images)
    for layer, momentum in zip(batchnorms(body), before, strict=True):
        layer.momentum = momentum
    network.eval()
    return {name: tensor.detach().cpu().clone() for name, tensor in statistics(body)}
