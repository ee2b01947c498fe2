"""Augmentation of a batch on the model's device: every sample gets its own draw, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hamdg.data.augment.colour import ADJUST, grayscale_
from hamdg.data.augment.crop import crop
from hamdg.data.augment.draws import Adjustment, Draw, PresetName, draw
from hamdg.data.formats import InputFormat


def prepare(pictures: Sequence[Tensor] | Tensor, preset: PresetName, input_format: InputFormat, seed: int) -> Tensor:
    """Augment and normalise a batch.

    Args:
        pictures: uint8 `[h, w, 3]` each, of many sizes or stacked, on the model's device.
        preset: `clip` (crop and flip) or `domainbed` (crop, flip, colour jitter, grayscale).
        input_format: What the model expects.
        seed: The same seed draws the same for every picture on every device.

    Returns:
        Floats `[n, 3, side, side]`.
    """
    sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
    draws = draw(preset, sizes, torch.Generator().manual_seed(seed))
    crops = (crop(picture, one, input_format.side) for picture, one in zip(pictures, draws, strict=True))
    if pictures[0].device.type != "cpu":
        return together(torch.stack(list(crops)), draws, input_format)
    return each(crops, draws, input_format, preset == "domainbed")


def each(crops: Iterable[Tensor], draws: Sequence[Draw], input_format: InputFormat, coloured: bool) -> Tensor:
    """Change colours and normalise picture by picture: each stays in a core's cache from the first change to the last.

    Args:
        crops: uint8 `[side, side, 3]` each.
        draws: What happens to each.
        input_format: What the model expects.
        coloured: Whether colours change at all.
    """
    side = input_format.side
    if not coloured:
        result = torch.empty(len(draws), side, side, 3)
        for picture, target in zip(crops, result, strict=True):
            input_format.write(picture, target)
        return result.permute(0, 3, 1, 2)
    result = torch.empty(len(draws), 3, side, side)
    for picture, one, planes in zip(crops, draws, result, strict=True):
        planes.copy_(picture.permute(2, 0, 1).contiguous()).mul_(1 / 255)
        input_format.normalise_(recolour_(planes, one))
    return result


def recolour_(image: Tensor, one: Draw) -> Tensor:
    """Change the colours of a float picture [3, h, w] where it lies."""
    for adjustment, factor in one.jitter:
        ADJUST[adjustment](image, factor)
    return grayscale_(image) if one.grey else image


def together(crops: Tensor, draws: Sequence[Draw], input_format: InputFormat) -> Tensor:
    """Do the same in few large steps, for accelerators: in each turn, all pictures with the same change together.

    Args:
        crops: uint8 `[n, side, side, 3]`.
        draws: What happens to each.
        input_format: What the model expects.
    """
    images = crops.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
    for turn in range(max((len(one.jitter) for one in draws), default=0)):
        for adjustment, change in ADJUST.items():
            members, factors = _members(draws, turn, adjustment)
            if members:
                index = torch.tensor(members, device=images.device)
                each = torch.tensor(factors, device=images.device).view(-1, 1, 1, 1)
                images[index] = change(images[index], each)
    if grey := [position for position, one in enumerate(draws) if one.grey]:
        index = torch.tensor(grey, device=images.device)
        images[index] = grayscale_(images[index])
    return input_format.normalise_(images)


def _members(draws: Sequence[Draw], turn: int, adjustment: Adjustment) -> tuple[list[int], list[float]]:
    """Return the positions and factors of all pictures whose change number `turn` is this one."""
    jitters = [(position, one.jitter[turn]) for position, one in enumerate(draws) if turn < len(one.jitter)]
    chosen = [(position, factor) for position, (name, factor) in jitters if name == adjustment]
    return [position for position, _ in chosen], [factor for _, factor in chosen]
