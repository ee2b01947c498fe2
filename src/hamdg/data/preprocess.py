"""What a model expects of its images: their side, and the mean and standard deviation of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hamdg.config.recipe import Normalization

Channels = tuple[float, float, float]

CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
# By what a recipe calls them.
NORMALIZATIONS = {"clip": (CLIP_MEAN, CLIP_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
# Bytes of a cache line.
_LINE = 64


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images [n, h, w, 3] into floats [n, 3, h, w] between 0 and 1."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def normalize(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Subtract `mean` and divide by `std`, channel by channel."""
    shift = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images - shift) / scale


def resize(images: Tensor, side: int) -> Tensor:
    """Bring square images to the side that a model expects; images of that side are returned as they are."""
    if images.shape[-2:] == (side, side):
        return images
    return functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Preprocess:
    """What a model expects of its images.

    Args:
        side: Height and width in pixels.
        mean: Mean of every channel.
        std: Standard deviation of every channel.
    """

    side: int
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD

    def normalized_as(self, normalization: Normalization) -> Preprocess:
        """Return the same with the mean and deviation that a recipe names; `own` leaves them as they are."""
        if normalization == "own":
            return self
        mean, std = NORMALIZATIONS[normalization]
        return replace(self, mean=mean, std=std)

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 images [n, h, w, 3] into what the model takes, without augmentation.

        Images of the model's side give, on a CPU, bit for bit what torchvision's `ToTensor` and `Normalize` give.
        Activations of frozen layers, which are floats, are as the model takes them but for their precision.
        """
        if images.is_floating_point():
            return images.float()
        if images.shape[1:3] != (self.side, self.side):
            return self.fit(to_float(images))
        sources = images.reshape(len(images), self.side, 3 * self.side)
        targets = _room(sources.shape, images.device)
        rows = self._rows_on(images.device)
        if images.device.type == "cpu":
            # A single image stays in a core's cache from the first operation to the last.
            for source, target in zip(sources.unbind(), targets.unbind(), strict=True):
                _write(source, target, *rows)
        else:
            _write(sources, targets, *rows)
        return targets.view(images.shape).permute(0, 3, 1, 2)

    def write(self, image: Tensor, target: Tensor) -> None:
        """Normalize a uint8 image [side, side, 3] into floats of the same shape."""
        _write(image.view(self.side, -1), target.view(self.side, -1), *self._rows_on(target.device))

    def fit(self, images: Tensor) -> Tensor:
        """Bring float images [n, 3, h, w] between 0 and 1 to the model's side, mean and standard deviation."""
        return normalize(resize(images, self.side), self.mean, self.std)

    def convert(self, images: Tensor, to: Preprocess) -> Tensor:
        """Turn images [n, 3, h, w] that this model takes into what another takes, such as a teacher beside a student.

        Where the other's side is larger, what was lost on the way to this one stays lost.
        """
        if (self.mean, self.std, self.side) == (to.mean, to.std, to.side):
            return images
        shift, scale = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (self.mean, self.std))
        return to.fit(images * scale + shift)

    def normalize_(self, images: Tensor) -> Tensor:
        """Normalize float images [..., 3, h, w] between 0 and 1 where they lie."""
        shift, scale = self._planes
        return images.sub_(shift.to(images.device)).mul_(scale.to(images.device))

    def _rows_on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        shift, full, scale = self._rows
        return shift.to(device), full.to(device), scale.to(device)

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Negative mean of a row of pixels [3 side], 255, and deviation; rows are faster to broadcast than pixels."""
        return -torch.tensor(self.mean * self.side), torch.tensor(255.0), torch.tensor(self.std * self.side)

    @cached_property
    def _planes(self) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation [3, 1, 1]."""
        return torch.tensor(self.mean).view(3, 1, 1), 1 / torch.tensor(self.std).view(3, 1, 1)


def _write(source: Tensor, target: Tensor, shift: Tensor, full: Tensor, scale: Tensor) -> None:
    """Normalize rows of pixels [..., side, 3 side]."""
    target.copy_(source)
    # Divided by 255 and shifted in one pass, each rounded as if alone.
    torch.addcdiv(shift, target, full, out=target).div_(scale)


def _room(shape: torch.Size, device: torch.device) -> Tensor:
    """Return floats that are yet to be written."""
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    # NumPy asks for large pages, which the system provides at a third of the cost; arithmetic wants whole cache lines.
    memory = np.empty(shape.numel() * 4 + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return torch.from_numpy(memory[start : start + shape.numel() * 4].view(np.float32)).view(shape)
