"""Losses of images that are synthesized from a model's BatchNorm statistics, as pure functions.

After DeepInversion (https://arxiv.org/abs/1912.08795), whose form of the statistics' loss is `norms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.config.algorithms.dmm import StatisticsLoss
from hamdg.errors import WeightsError
from hamdg.models.network import Weights

# What a variance is at least, as a share of its layer's mean: differences are divided by it.
_FLOOR = 1e-2


class Moments(NamedTuple):
    """Mean and biased variance of the channels [c] that go into a BatchNorm layer."""

    mean: Tensor
    variance: Tensor


def stored_moments(module: nn.Module) -> dict[str, Moments]:
    """Return the running statistics of all BatchNorm layers that keep them, by the layers' names."""
    found = {}
    for name, layer in _layers(module).items():
        assert layer.running_mean is not None, "only layers that keep statistics are asked"
        assert layer.running_var is not None, "a layer keeps both or none"
        found[name] = Moments(layer.running_mean.detach().clone(), layer.running_var.detach().clone())
    return found


@contextmanager
def batch_moments(module: nn.Module) -> Iterator[dict[str, Moments]]:
    """Collect the moments of what goes into the BatchNorm layers while the block runs; gradients pass through them."""
    found: dict[str, Moments] = {}
    handles = [layer.register_forward_pre_hook(partial(_note, found, name)) for name, layer in _layers(module).items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def moments_of(inputs: Tensor) -> Moments:
    """Return the moments of the channels of [n, c] or [n, c, ...]."""
    others = [axis for axis in range(inputs.ndim) if axis != 1]
    return Moments(inputs.mean(dim=others), inputs.var(dim=others, unbiased=False))


def statistics_loss(found: Mapping[str, Moments], stored: Mapping[str, Moments], form: StatisticsLoss) -> Tensor:
    """Return how far the moments of a batch are from the stored ones; 0 where and only where they are equal.

    - `relative`: the sum over layers, of the mean over their channels, of (mu - mu')^2 / v' + (v - v')^2 / v'^2, where
      v' is the stored variance, but at least a hundredth of the layer's mean: a channel that never varied would count
      without limit.
    - `norms`: the sum over layers of |mu - mu'|_2 + |v - v'|_2.

    Args:
        found: Moments of the batch by layer.
        stored: The layers' running statistics.
        form: Which of the two.
    """
    if form == "norms":
        return torch.stack(
            [
                torch.linalg.vector_norm(own.mean - stored[name].mean)
                + torch.linalg.vector_norm(own.variance - stored[name].variance)
                for name, own in found.items()
            ]
        ).sum()
    losses = []
    for name, own in found.items():
        unit = _unit(stored[name].variance)
        means, variances = own.mean - stored[name].mean, own.variance - stored[name].variance
        losses.append((means.square() / unit + (variances / unit).square()).mean())
    return torch.stack(losses).sum()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighboring pixels of [n, c, h, w], down plus across."""
    down, across = images.diff(dim=2).abs(), images.diff(dim=3).abs()
    return down.mean() + across.mean()


def rolled(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return images rolled by up to `most` pixels down and across, all by the same."""
    shifts = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
    return torch.roll(images, shifts=shifts, dims=(2, 3)) if any(shifts) else images


def check_statistics(name: str, weights: Weights) -> None:
    """Check that BatchNorm's statistics can be used.

    Args:
        name: The model's name, for the message.
        weights: Its tensors.

    Raises:
        WeightsError: One is not finite, or a variance is negative.
    """
    for key, tensor in weights.items():
        kind = key.rpartition(".")[2]
        if kind not in ("running_mean", "running_var"):
            continue
        if not bool(torch.isfinite(tensor).all()):
            what = "is not finite"
        elif kind == "running_var" and bool((tensor < 0).any()):
            what = "is negative"
        else:
            continue
        raise WeightsError(
            f"The statistic `{key}` of the model `{name}` {what}, so that nothing can be synthesized from it; train "
            "it with a lower `train.lr`."
        )


def _layers(module: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def _note(found: dict[str, Moments], name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    found[name] = moments_of(inputs[0])


def _unit(variance: Tensor) -> Tensor:
    floor = _FLOOR * variance.mean()
    return variance.clamp_min(torch.where(floor > 0, floor, torch.ones_like(floor)))
