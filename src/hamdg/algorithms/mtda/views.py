"""The strong view of images that a student learns from, of the weak one that its teacher labels."""

from __future__ import annotations

import torch
from torch import Tensor

from hamdg.data.augment.color import brightness_, contrast_, grayscale_, saturation_
from hamdg.data.preprocess import Preprocess

# At full strength, factors of brightness, contrast and saturation lie between 1 - JITTER and 1 + JITTER.
JITTER = 0.4
GRAYED = 0.2
# Side of the square that is cut out, as a share of the image's.
CUT = 0.3


def strong_view(images: Tensor, preprocess: Preprocess, strength: float = 1.0) -> Tensor:
    """Return images with other colors and a square cut out; what is where does not change, so labels of pixels stay.

    The numbers are drawn from torch's global generator on the CPU, which a cohort seeds by step.

    Args:
        images: Normalized images [n, 3, h, w].
        preprocess: How they are normalized.
        strength: Scales all that changes; 0 leaves the images as they are.
    """
    count, _, height, width = images.shape
    shift, scale = (
        torch.tensor(values, device=images.device).view(3, 1, 1) for values in (preprocess.mean, preprocess.std)
    )
    plain = (images * scale + shift).clamp_(0, 1)
    for change in (brightness_, contrast_, saturation_):
        factors = 1 + strength * JITTER * (2 * torch.rand(count, 1, 1, 1) - 1)
        change(plain, factors.to(plain))
    gray = (torch.rand(count) < strength * GRAYED).to(images.device)
    plain = torch.where(gray.view(-1, 1, 1, 1), grayscale_(plain.clone()), plain)
    found = (plain - shift) / scale
    # Cut out is the mean color, which is 0 once it is normalized.
    return found * ~_squares(count, height, width, strength * CUT).to(images.device)


def _squares(count: int, height: int, width: int, share: float) -> Tensor:
    """Return one square for each image [n, 1, h, w], true inside; its side is a share of the image's."""
    inside = []
    for length in (height, width):
        side = round(share * length)
        first = (torch.rand(count, 1) * (length - side + 1)).long()
        at = torch.arange(length)
        inside.append((at >= first) & (at < first + side))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[:, None]
