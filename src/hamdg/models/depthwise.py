"""Depthwise convolutions of maps smaller than their kernel, whose gradient torch computes slowly on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SmallMapConv2d(nn.Conv2d):
    """A depthwise convolution with a fast gradient where a CPU trains it on maps smaller than its kernel.

    oneDNN, with which torch computes on CPUs, is slow at the gradient of the weights there, as in the last stages of an
    EfficientNet on small images (docs/devices.md). Outputs, and all other gradients, are torch's.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of a batch [n, c, h, w]."""
        if not self._is_slow_with(maps):
            return super().forward(maps)
        found: Tensor = _SmallMaps.apply(maps, self.weight)
        return found

    def _is_slow_with(self, maps: Tensor) -> bool:
        small = maps.device.type == "cpu" and maps.ndim == 4 and min(maps.shape[-2:]) < max(self.kernel_size)
        # Below autocast, types are torch's concern.
        trains = self.weight.requires_grad and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return small and trains


class _SmallMaps(torch.autograd.Function):
    """The convolution, with as many channels out as in, a step of 1 and maps that keep their size."""

    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(maps, weight)
        return functional.conv2d(maps, weight, None, 1, _same(weight), 1, len(weight))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        maps, weight = context.saved_tensors
        # Maps keep their size, so theirs is the convolution of its own with the kernel turned around.
        of_maps = functional.conv2d(gradients[0], weight.flip(2, 3), None, 1, _same(weight), 1, len(weight))
        return of_maps, _gradient_of_weight(maps, gradients[0], weight)


def _gradient_of_weight(maps: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient [c, 1, k, l]: for each place of the kernel, the product of the gradient and the moved map."""
    rows, columns = (_overlaps(side, kernel) for side, kernel in zip(maps.shape[-2:], weight.shape[-2:], strict=True))
    sums = [
        (maps[..., row, column] * gradient[..., moved_row, moved_column]).sum((0, 2, 3))
        for row, moved_row in rows
        for column, moved_column in columns
    ]
    return torch.stack(sums, 1).view(weight.shape)


def _overlaps(side: int, kernel: int) -> list[tuple[slice, slice]]:
    """Return, for each place of a kernel, which part of a side it meets, and for which part of the output."""
    moves = [place - kernel // 2 for place in range(kernel)]
    return [
        (slice(max(0, move), max(0, side + min(0, move))), slice(max(0, -move), max(0, side - max(0, move))))
        for move in moves
    ]


def _same(weight: Tensor) -> tuple[int, int]:
    """Return the padding with which maps keep their size."""
    height, width = weight.shape[-2:]
    return height // 2, width // 2


def speed_up_small_maps(network: nn.Module) -> None:
    """Give the depthwise convolutions of a network, where it is known, the fast gradient; tensors keep their names."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _keeps_size(module):
            module.__class__ = SmallMapConv2d


def _keeps_size(module: nn.Conv2d) -> bool:
    odd = all(side % 2 for side in module.kernel_size)
    padded = module.padding == tuple(side // 2 for side in module.kernel_size) and module.padding_mode == "zeros"
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    return odd and padded and depthwise and module.stride == module.dilation == (1, 1) and module.bias is None
