"""Flips and small shifts, for images that fill their frame."""

from __future__ import annotations

import torch
from torch import Tensor


def flip_shift(images: Tensor, generator: torch.Generator, reach: float = 1 / 16) -> Tensor:
    """Flip half of the images left to right and move each by up to `reach` of its side; borders are repeated.

    Args:
        images: Images [n, c, h, w].
        generator: A CPU generator; the same state gives the same images on every device.
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
