"""Batched augmentation on the model's device: every sample gets its own draw, reproducible from a seed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 pictures [n, h, w, 3] into floats [n, 3, h, w] between 0 and 1."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def flip_shift(images: Tensor, generator: torch.Generator, reach: float = 1 / 16) -> Tensor:
    """Flip half of the pictures left to right and move each by up to `reach` of its side; borders are repeated.

    Args:
        images: Pictures [n, c, h, w].
        generator: A CPU generator; the same state gives the same pictures on every device.
        reach: Largest shift as a share of the side.
    """
    count, _, height, width = images.shape
    flips = torch.rand(count, generator=generator) < 0.5
    dy = _shifts(count, round(height * reach), generator)
    dx = _shifts(count, round(width * reach), generator)
    rows = (torch.arange(height) + dy[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + dx[:, None]).clamp(0, width - 1)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    samples = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifts(count: int, reach: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-reach, reach + 1, (count,), generator=generator)


def normalise(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """Subtract `mean` and divide by `std`, channel by channel."""
    shift = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images - shift) / scale


def resize(images: Tensor, side: int) -> Tensor:
    """Bring square pictures to the side that a model expects; pictures of that side are returned as they are."""
    if images.shape[-2:] == (side, side):
        return images
    return functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0.0, 1.0)
