"""Crops, brought to the model's side."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hamdg.data.augment.params import Draw


def crop(image: Tensor, draw: Draw, side: int) -> Tensor:
    """Cut out what was drawn, bring it to the model's side and flip it.

    Bilinear with antialiasing, rounded to uint8, as torchvision treats uint8 images.

    Args:
        image: uint8 `[h, w, 3]`.
        draw: What happens to it.
        side: Height and width of the result.

    Returns:
        uint8 `[side, side, 3]`, whole in memory.
    """
    top, left, height, width = draw.box
    # A part that lies whole in memory, known to be channels-last, is resized almost twice as fast.
    part = image[top : top + height, left : left + width].contiguous()[None].permute(0, 3, 1, 2)
    resized = _resized(part, side)[0].permute(1, 2, 0)
    return (resized.flip(1) if draw.flip else resized).contiguous()


def _resized(part: Tensor, side: int) -> Tensor:
    """Resize uint8 [1, 3, h, w]; accelerators can do it on floats alone."""
    exact = part if part.device.type == "cpu" else part.to(torch.float32)
    resized = functional.interpolate(exact, size=(side, side), mode="bilinear", antialias=True)
    return resized if resized.dtype == torch.uint8 else resized.round_().to(torch.uint8)
