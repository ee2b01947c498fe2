"""A tiny CLIP, class features and batches, for learners of algorithms that pool the sources."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.config.recipe import ModelConfig
from hamdg.data.batches import Batch, Labels
from hamdg.models.clip import load_clip

CONF = Path(__file__).parents[1] / "conf"
SIDE, CLASSES, OWN = 32, 3, ("art", "photo")
CLIP = load_clip(ModelConfig(name=str(CONF / "tiny-vit.json"), weights="random"))
TEXT = normalize(torch.randn(CLASSES, CLIP.width, generator=torch.Generator().manual_seed(5)), dim=1)


def batches(count: int = 4) -> dict[str, Batch]:
    """Return a batch of every domain."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for name in OWN:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
        found[name] = Batch(images, torch.arange(count), Labels(labels, labels))
    return found


def whole(given: dict[str, Batch]) -> tuple[Tensor, Tensor]:
    """Return the images and labels of all domains together."""
    return torch.cat([one.images for one in given.values()]), torch.cat([one.labels for one in given.values()])
