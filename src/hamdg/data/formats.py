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
        if images.device.type == "cpu":
            # A single picture stays in a core's cache from the first operation to the last.
            for image, target in zip(images, result, strict=True):
                self.write(image, target)
        else:
            self.write(images, result)
        return result.permute(0, 3, 1, 2)

    def write(self, images: Tensor, target: Tensor) -> None:
        """Normalise uint8 pictures [..., side, side, 3] into floats of the same shape."""
        shift, scale = self._rows.to(target.device)
        lines = (*images.shape[:-2], 3 * self.side)
        target.view(lines).copy_(images.reshape(lines)).div_(255.0).sub_(shift).div_(scale)

    def fit(self, pictures: Tensor) -> Tensor:
        """Bring float pictures [n, 3, h, w] between 0 and 1 to the model's side, mean and standard deviation."""
        return normalise(resize(pictures, self.side), self.mean, self.std)

    def normalise_(self, images: Tensor) -> Tensor:
        """Normalise float pictures [..., 3, h, w] between 0 and 1 where they lie."""
        shift, scale = self._rows[:, :3, None, None].to(images.device)
        return images.sub_(shift).mul_(1 / scale)

    @cached_property
    def _rows(self) -> Tensor:
        """Mean and deviation as one row of pixels has them, `[2, 3 side]`: whole rows are fast to broadcast."""
        return torch.tensor([self.mean * self.side, self.std * self.side])
