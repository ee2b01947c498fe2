"""The random parameters of augmentation: every sample's crop, flip and colors.

All samples take the same number of random numbers, on the CPU: a sample's parameters depend on the seed and on
its place in the batch, not on the device, the preset or the sizes of the images before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

PresetName = Literal["clip", "domainbed"]
Adjustment = Literal["brightness", "contrast", "saturation", "hue"]
ADJUSTMENTS: tuple[Adjustment, ...] = ("brightness", "contrast", "saturation", "hue")

# DomainBed's values.
AREA = (0.7, 1.0)
RATIO = (3 / 4, 4 / 3)
JITTER = 0.3
FLIPPED = 0.5
GRAYED = 0.1

ATTEMPTS = 10
_CORNER = 2 * ATTEMPTS
_FLIP, _GRAY = _CORNER + 2, _CORNER + 3
_KEYS, _FACTORS = _CORNER + 4, _CORNER + 4 + len(ADJUSTMENTS)
NUMBERS = _FACTORS + len(ADJUSTMENTS)


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class AugmentParams:
    """What happens to one sample.

    Args:
        box: The part that is cut out and brought to the model's side.
        flip: Whether it is flipped left to right.
        jitter: Changes of its colors with their factors (hue: the shift, in turns of the circle), in their order.
        gray: Whether it then loses its colors.
    """

    box: Box
    flip: bool
    jitter: tuple[tuple[Adjustment, float], ...] = ()
    gray: bool = False


def sample_params(
    preset: PresetName,
    sizes: Sequence[tuple[int, int]],
    generator: torch.Generator,
    first: int = 0,
    whole: int | None = None,
) -> list[AugmentParams]:
    """Sample what happens to every image.

    Args:
        preset: `clip` (crop and flip) or `domainbed` (crop, flip, color jitter, grayscale).
        sizes: Height and width of every image.
        generator: A CPU generator.
        first: The place of the first image in its batch, where these are a part of one.
        whole: How many images the whole batch has; these by default.
    """
    count = len(sizes) if whole is None else whole
    numbers = torch.rand(count, NUMBERS, generator=generator, dtype=torch.float64)[first : first + len(sizes)].tolist()
    return [_params_of(preset, *size, row) for size, row in zip(sizes, numbers, strict=True)]


def _params_of(preset: PresetName, height: int, width: int, row: list[float]) -> AugmentParams:
    box = crop_box(height, width, row[: _CORNER + 2])
    flip = row[_FLIP] < FLIPPED
    if preset == "clip":
        return AugmentParams(box, flip)
    order = sorted(range(len(ADJUSTMENTS)), key=lambda k: row[_KEYS + k])
    jitter = tuple((ADJUSTMENTS[k], _factor(ADJUSTMENTS[k], row[_FACTORS + k])) for k in order)
    return AugmentParams(box, flip, jitter, row[_GRAY] < GRAYED)


def _factor(adjustment: Adjustment, number: float) -> float:
    deviation = JITTER * (2 * number - 1)
    return deviation if adjustment == "hue" else 1 + deviation


def crop_box(height: int, width: int, numbers: Sequence[float]) -> Box:
    """Choose a part of an image by the rule of torchvision's `RandomResizedCrop`.

    The first of ten attempts that fits into the image counts; if none does, it is the largest part in the middle
    whose ratio is allowed.

    Args:
        height: The image's height.
        width: Its width.
        numbers: Between 0 and 1: the attempts' areas, their ratios, and the place from the top and from the left.
    """
    for k in range(ATTEMPTS):
        area = height * width * _between(*AREA, numbers[k])
        ratio = math.exp(_between(math.log(RATIO[0]), math.log(RATIO[1]), numbers[ATTEMPTS + k]))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            top, left = int(numbers[_CORNER] * (height - down + 1)), int(numbers[_CORNER + 1] * (width - across + 1))
            return Box(top, left, down, across)
    down = min(height, max(1, round(width / RATIO[0])))
    across = min(width, max(1, round(height * RATIO[1])))
    return Box((height - down) // 2, (width - across) // 2, down, across)


def _between(low: float, high: float, number: float) -> float:
    return low + (high - low) * number
