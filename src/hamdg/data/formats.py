"""What a model expects of its pictures: their side, and the mean and standard deviation of its training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

Channels = tuple[float, float, float]

CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 pictures [n, h, w, 3] into floats [n, 3, h, w] between 0 and 1."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def normalise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Subtract `mean` and divide by `std`, channel by channel."""
    shift = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images - shift) / scale


def resize(images: Tensor, side: int) -> Tensor:
    """Bring square pictures to the side that a model expects; pictures of that side are returned as they are."""
    if images.shape[-2:] == (side, side):
        return images
    return functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0.0, 1.0)


@dataclass(frozen=True)
class InputFormat:
    """What a model expects of its pictures.

    Args:
        side: Height and width in pixels.
        mean: Mean of every channel.
        std: Standard deviation of every channel.
    """

    side: int
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD

    @classmethod
    def imagenet(cls, side: int) -> InputFormat:
        """Return what models that were trained on ImageNet alone expect."""
        return cls(side, IMAGENET_MEAN, IMAGENET_STD)

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 pictures [n, h, w, 3] into what the model eats, without augmentation.

        Pictures of the model's side give, on a CPU, bit for bit what torchvision's `ToTensor` and `Normalize` give.
        """
        if images.shape[1:3] != (self.side, self.side):
            return self.fit(to_float(images))
        result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        lines = (len(images), self.side, 3 * self.side)
        sources, targets = images.reshape(lines), result.view(lines)
        if images.device.type == "cpu":
            # A single picture stays in a core's cache from the first operation to the last.
            for source, target in zip(sources, targets, strict=True):
                self._write(source, target)
        else:
            self._write(sources, targets)
        return result.permute(0, 3, 1, 2)

    def write(self, image: Tensor, target: Tensor) -> None:
        """Normalise a uint8 picture [side, side, 3] into floats of the same shape."""
        self._write(image.view(self.side, -1), target.view(self.side, -1))

    def _write(self, source: Tensor, target: Tensor) -> None:
        """Normalise rows of pixels [..., side, 3 side]."""
        shift, scale = self._rows
        target.copy_(source)
        # 256 / 255 of a value: to the bit 256 times what a division by 255 gives, in half its time.
        target.add_(target, alpha=1 / 255).sub_(shift.to(target.device)).div_(scale.to(target.device))

    def fit(self, pictures: Tensor) -> Tensor:
        """Bring float pictures [n, 3, h, w] between 0 and 1 to the model's side, mean and standard deviation."""
        return normalise(resize(pictures, self.side), self.mean, self.std)

    def normalise_(self, images: Tensor) -> Tensor:
        """Normalise float pictures [..., 3, h, w] between 0 and 1 where they lie."""
        shift, scale = self._planes
        return images.sub_(shift.to(images.device)).mul_(scale.to(images.device))

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of a row of pixels [3 side], 256 times; rows are faster to broadcast than pixels."""
        return torch.tensor(self.mean * self.side) * 256, torch.tensor(self.std * self.side) * 256

    @cached_property
    def _planes(self) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation [3, 1, 1]."""
        return torch.tensor(self.mean).view(3, 1, 1), 1 / torch.tensor(self.std).view(3, 1, 1)
