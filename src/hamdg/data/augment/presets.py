"""Augmentation of a batch on the model's device: every sample gets its own parameters, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hamdg.data.augment.color import ADJUST, grayscale_
from hamdg.data.augment.params import Adjustment, AugmentParams, PresetName, sample_params
from hamdg.data.preprocess import Preprocess


def prepare(
    images: Sequence[Tensor] | Tensor,
    preset: PresetName,
    preprocess: Preprocess,
    seed: int,
    first: int = 0,
    whole: int | None = None,
) -> Tensor:
    """Augment and normalize a batch.

    Args:
        images: uint8 `[h, w, 3]` each, of many sizes or stacked, on the model's device.
        preset: `clip` (crop and flip) or `domainbed` (crop, flip, color jitter, grayscale).
        preprocess: What the model expects.
        seed: The same seed gives the same parameters on every device.
        first: The place of the first image in its batch, where these are a part of one.
        whole: How many images the whole batch has; these by default.

    Returns:
        Floats `[n, 3, side, side]`.
    """
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    params = sample_params(preset, sizes, torch.Generator().manual_seed(seed), first, whole)
    crops = (crop(image, one, preprocess.side) for image, one in zip(images, params, strict=True))
    if images[0].device.type != "cpu":
        return augment_stacked(torch.stack(list(crops)), params, preprocess)
    return augment_each(crops, params, preprocess, preset == "domainbed")


def crop(image: Tensor, params: AugmentParams, side: int) -> Tensor:
    """Cut out a part, bring it to the model's side and flip it.

    Bilinear with antialiasing, rounded to uint8, as torchvision treats uint8 images.

    Args:
        image: uint8 `[h, w, 3]`.
        params: What happens to it.
        side: Height and width of the result.

    Returns:
        uint8 `[side, side, 3]`, whole in memory.
    """
    top, left, height, width = params.box
    # A part that lies whole in memory, known to be channels-last, is resized almost twice as fast.
    part = image[top : top + height, left : left + width].contiguous()[None].permute(0, 3, 1, 2)
    resized = _resized(part, side)[0].permute(1, 2, 0)
    return (resized.flip(1) if params.flip else resized).contiguous()


def _resized(part: Tensor, side: int) -> Tensor:
    """Resize uint8 [1, 3, h, w]; accelerators can do it on floats alone."""
    exact = part if part.device.type == "cpu" else part.to(torch.float32)
    resized = functional.interpolate(exact, size=(side, side), mode="bilinear", antialias=True)
    return resized if resized.dtype == torch.uint8 else resized.round_().to(torch.uint8)


def augment_each(
    crops: Iterable[Tensor], params: Sequence[AugmentParams], preprocess: Preprocess, colored: bool
) -> Tensor:
    """Change colors and normalize image by image: each stays in a core's cache from the first change to the last.

    Args:
        crops: uint8 `[side, side, 3]` each.
        params: What happens to each.
        preprocess: What the model expects.
        colored: Whether colors change at all.
    """
    side = preprocess.side
    if not colored:
        result = torch.empty(len(params), side, side, 3)
        for image, target in zip(crops, result, strict=True):
            preprocess.write(image, target)
        return result.permute(0, 3, 1, 2)
    result = torch.empty(len(params), 3, side, side)
    for image, one, planes in zip(crops, params, result, strict=True):
        planes.copy_(image.permute(2, 0, 1).contiguous()).mul_(1 / 255)
        preprocess.normalize_(recolor_(planes, one))
    return result


def recolor_(image: Tensor, one: AugmentParams) -> Tensor:
    """Change the colors of a float image [3, h, w] where it lies."""
    for adjustment, factor in one.jitter:
        ADJUST[adjustment](image, factor)
    return grayscale_(image) if one.gray else image


def augment_stacked(crops: Tensor, params: Sequence[AugmentParams], preprocess: Preprocess) -> Tensor:
    """Do the same in few large steps, for accelerators: in each turn, all images with the same change at once.

    Args:
        crops: uint8 `[n, side, side, 3]`.
        params: What happens to each.
        preprocess: What the model expects.
    """
    images = crops.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
    for turn in range(max((len(one.jitter) for one in params), default=0)):
        for adjustment, change in ADJUST.items():
            members, factors = _members(params, turn, adjustment)
            if members:
                index = torch.tensor(members, device=images.device)
                each = torch.tensor(factors, device=images.device).view(-1, 1, 1, 1)
                images[index] = change(images[index], each)
    if gray := [position for position, one in enumerate(params) if one.gray]:
        index = torch.tensor(gray, device=images.device)
        images[index] = grayscale_(images[index])
    return preprocess.normalize_(images)


def _members(params: Sequence[AugmentParams], turn: int, adjustment: Adjustment) -> tuple[list[int], list[float]]:
    """Return the positions and factors of all images whose change number `turn` is this one."""
    jitters = [(position, one.jitter[turn]) for position, one in enumerate(params) if turn < len(one.jitter)]
    chosen = [(position, factor) for position, (name, factor) in jitters if name == adjustment]
    return [position for position, _ in chosen], [factor for _, factor in chosen]


def flip_shift(
    images: Tensor, generator: torch.Generator, reach: float = 1 / 16, first: int = 0, whole: int | None = None
) -> Tensor:
    """Flip half of the images left to right and move each by up to `reach` of its side; borders are repeated.

    Args:
        images: Images [n, c, h, w].
        generator: A CPU generator; the same state gives the same images on every device.
        reach: Largest shift as a share of the side.
        first: The place of the first image in its batch, where these are a part of one.
        whole: How many images the whole batch has; these by default.
    """
    count, _, height, width = images.shape
    rows, columns = _moved(count, height, width, generator, reach, first, whole)
    rows, columns = rows.clamp(0, height - 1).to(images.device), columns.clamp(0, width - 1).to(images.device)
    samples = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip_shift_maps(
    maps: Tensor,
    generator: torch.Generator,
    fill: int,
    reach: float = 1 / 16,
    first: int = 0,
    whole: int | None = None,
) -> Tensor:
    """Move label maps as `flip_shift` moves images of their size, given a generator in the same state.

    Args:
        maps: Maps [n, h, w].
        generator: A CPU generator.
        fill: The label of pixels that the shift has vacated: what an image repeats there is not to be learned.
        reach: As of `flip_shift`.
        first: As of `flip_shift`.
        whole: As of `flip_shift`.
    """
    count, height, width = maps.shape
    rows, columns = (places.to(maps.device) for places in _moved(count, height, width, generator, reach, first, whole))
    samples = torch.arange(count, device=maps.device)[:, None, None]
    moved = maps[samples, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return moved.masked_fill(~(inside_rows[:, :, None] & inside_columns[:, None, :]), fill)


def _moved(
    count: int,
    height: int,
    width: int,
    generator: torch.Generator,
    reach: float,
    first: int,
    whole: int | None,
) -> tuple[Tensor, Tensor]:
    """Return from which rows [n, h] and columns [n, w] every pixel comes; some may lie outside."""
    drawn, own = count if whole is None else whole, slice(first, first + count)
    flips = (torch.rand(drawn, generator=generator) < 0.5)[own]
    dy = _shifts(drawn, round(height * reach), generator)[own]
    dx = _shifts(drawn, round(width * reach), generator)[own]
    rows, columns = torch.arange(height) + dy[:, None], torch.arange(width) + dx[:, None]
    return rows, torch.where(flips[:, None], columns.flip(1), columns)


def _shifts(count: int, reach: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-reach, reach + 1, (count,), generator=generator)
