"""Changes of color, as torchvision defines them on floats, in few passes over the pixels.

Every function changes float images `[..., 3, h, w]` between 0 and 1 where they lie and returns them. A factor is a
number for all images or a tensor `[n, 1, 1, 1]` with one for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hamdg.data.augment.params import Adjustment

Factor = float | Tensor

# What the channels contribute to the brightness (ITU-R BT.601).
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114
# Less chroma than this is none; it keeps the division for the hue finite.
_TINY = 1e-20
# The places of red, green and blue on the color circle, and its far end.
_CENTERS = torch.tensor([0.0, 2.0, -2.0]).view(3, 1, 1)
_FAR = torch.tensor(3.0)


def gray_of(images: Tensor) -> Tensor:
    """Return the brightness `[..., 1, h, w]` of every pixel."""
    red, green, blue = images.chunk(3, -3)
    return red.mul(_RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def grayscale_(images: Tensor) -> Tensor:
    """Take away the colors."""
    return images.copy_(gray_of(images))


def brightness_(images: Tensor, factor: Factor) -> Tensor:
    """Multiply by the factor."""
    return _bounded_(images.mul_(factor), factor)


def contrast_(images: Tensor, factor: Factor) -> Tensor:
    """Mix each image with its mean brightness, which is the brightness of its mean color."""
    weights = torch.tensor([_RED, _GREEN, _BLUE], device=images.device)
    mean = (images.mean((-2, -1)) * weights).sum(-1)[..., None, None, None]
    return _bounded_(torch.lerp(mean, images, factor, out=images), factor)


def saturation_(images: Tensor, factor: Factor) -> Tensor:
    """Mix each pixel with its brightness."""
    return _bounded_(torch.lerp(gray_of(images), images, factor, out=images), factor)


def _bounded_(images: Tensor, factor: Factor) -> Tensor:
    """Keep colors between 0 and 1; a factor of at most 1 cannot leave them."""
    return images if isinstance(factor, float) and factor <= 1 else images.clamp_(0, 1)


def hue_(images: Tensor, shift: Factor) -> Tensor:
    """Turn the color circle by a shift of at most a third of it to either side, with value and saturation kept.

    Places on the circle are counted from red, -3 to 3, negative where blue exceeds green. With D = green - blue and
    A = largest - red, both divided by the chroma, half the circle runs along three edges of a square: |D| rises
    (A = 0), A rises (|D| = 1), |D| falls (A = 1). So a place is D + A (3 sign(D) - 2 D). A color then is
    lowest + chroma * clamp(| |place - its own place| - 3 | - 1, 0, 1).
    """
    red, green, blue = images.chunk(3, -3)
    highest, lowest = torch.maximum(red, green), torch.minimum(red, green)
    torch.maximum(highest, blue, out=highest)
    torch.minimum(lowest, blue, out=lowest)
    chroma = (highest - lowest).clamp_(min=_TINY)
    rise = highest.sub_(red).div_(chroma)
    side = (green - blue).div_(chroma)
    edge = torch.copysign(_FAR.to(images.device), side).sub_(side, alpha=2)
    place = torch.addcmul(side, rise, edge, out=side)
    turn = 6 * shift - _CENTERS.to(images.device)
    torch.add(place, turn, out=images).abs_().sub_(3).abs_().clamp_(1, 2)
    return torch.addcmul(lowest.sub_(chroma), chroma, images, out=images)


ADJUST: Mapping[Adjustment, Callable[[Tensor, Factor], Tensor]] = {
    "brightness": brightness_,
    "contrast": contrast_,
    "saturation": saturation_,
    "hue": hue_,
}
