"""Augmentation of a batch on the model's device: every sample gets its own draw, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hamdg.data.augment.color import ADJUST, grayscale_
from hamdg.data.augment.crop import crop
from hamdg.data.augment.params import Adjustment, Draw, PresetName, draw
from hamdg.data.preprocess import Preprocess


def prepare(images: Sequence[Tensor] | Tensor, preset: PresetName, preprocess: Preprocess, seed: int) -> Tensor:
    """Augment and normalize a batch.

    Args:
        images: uint8 `[h, w, 3]` each, of many sizes or stacked, on the model's device.
        preset: `clip` (crop and flip) or `domainbed` (crop, flip, color jitter, grayscale).
        preprocess: What the model expects.
        seed: The same seed draws the same for every image on every device.

    Returns:
        Floats `[n, 3, side, side]`.
    """
    sizes = [(picture.shape[0], picture.shape[1]) for picture in images]
    draws = draw(preset, sizes, torch.Generator().manual_seed(seed))
    crops = (crop(picture, one, preprocess.side) for picture, one in zip(images, draws, strict=True))
    if images[0].device.type != "cpu":
        return together(torch.stack(list(crops)), draws, preprocess)
    return each(crops, draws, preprocess, preset == "domainbed")


def each(crops: Iterable[Tensor], draws: Sequence[Draw], preprocess: Preprocess, colored: bool) -> Tensor:
    """Change colors and normalize image by image: each stays in a core's cache from the first change to the last.

    Args:
        crops: uint8 `[side, side, 3]` each.
        draws: What happens to each.
        preprocess: What the model expects.
        colored: Whether colors change at all.
    """
    side = preprocess.side
    if not colored:
        result = torch.empty(len(draws), side, side, 3)
        for picture, target in zip(crops, result, strict=True):
            preprocess.write(picture, target)
        return result.permute(0, 3, 1, 2)
    result = torch.empty(len(draws), 3, side, side)
    for picture, one, planes in zip(crops, draws, result, strict=True):
        planes.copy_(picture.permute(2, 0, 1).contiguous()).mul_(1 / 255)
        preprocess.normalize_(recolor_(planes, one))
    return result


def recolor_(image: Tensor, one: Draw) -> Tensor:
    """Change the colors of a float image [3, h, w] where it lies."""
    for adjustment, factor in one.jitter:
        ADJUST[adjustment](image, factor)
    return grayscale_(image) if one.gray else image


def together(crops: Tensor, draws: Sequence[Draw], preprocess: Preprocess) -> Tensor:
    """Do the same in few large steps, for accelerators: in each turn, all images with the same change together.

    Args:
        crops: uint8 `[n, side, side, 3]`.
        draws: What happens to each.
        preprocess: What the model expects.
    """
    images = crops.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
    for turn in range(max((len(one.jitter) for one in draws), default=0)):
        for adjustment, change in ADJUST.items():
            members, factors = _members(draws, turn, adjustment)
            if members:
                index = torch.tensor(members, device=images.device)
                each = torch.tensor(factors, device=images.device).view(-1, 1, 1, 1)
                images[index] = change(images[index], each)
    if gray := [position for position, one in enumerate(draws) if one.gray]:
        index = torch.tensor(gray, device=images.device)
        images[index] = grayscale_(images[index])
    return preprocess.normalize_(images)


def _members(draws: Sequence[Draw], turn: int, adjustment: Adjustment) -> tuple[list[int], list[float]]:
    """Return the positions and factors of all images whose change number `turn` is this one."""
    jitters = [(position, one.jitter[turn]) for position, one in enumerate(draws) if turn < len(one.jitter)]
    chosen = [(position, factor) for position, (name, factor) in jitters if name == adjustment]
    return [position for position, _ in chosen], [factor for _, factor in chosen]
