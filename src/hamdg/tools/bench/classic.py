"""The classic way of loading, which is DomainBed's: Pillow and torchvision's transforms, image by image."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from hamdg import console
from hamdg.data.find_images import list_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import locate
from hamdg.data.preprocess import Preprocess
from hamdg.data.registry import benchmark
from hamdg.errors import DataError

SIDE = 224
FORMAT = Preprocess(SIDE)
Transform = Callable[[Image.Image], Tensor]


def classic_transform(use: str) -> Transform:
    """Return DomainBed's transforms of single images; `clip` leaves out those of colors.

    Args:
        use: `domainbed`, `clip` or `evaluation`.
    """
    jitter = [transforms.ColorJitter(0.3, 0.3, 0.3, 0.3), transforms.RandomGrayscale()]
    crop = [transforms.RandomResizedCrop(SIDE, scale=(0.7, 1.0)), transforms.RandomHorizontalFlip()]
    center = [
        transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(SIDE),
    ]
    steps = {"domainbed": [*crop, *jitter], "clip": crop, "evaluation": center}[use]
    composed: Transform = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(FORMAT.mean, FORMAT.std)]
    )
    return composed


def classic_batch(listing: Listing, positions: Sequence[int], transform: Transform) -> Tensor:
    """Decode and transform images one by one, and stack them."""
    images = [Image.open(io.BytesIO(listing.content(position))).convert("RGB") for position in positions]
    return torch.stack([transform(image) for image in images])


class ClassicDataset(Dataset[Tensor]):
    """A data set as DomainBed has it.

    Args:
        listing: The images.
        transform: What is done with each.
    """

    def __init__(self, listing: Listing, transform: Transform) -> None:
        self.listing = listing
        self.transform = transform

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, position: int) -> Tensor:
        """Return an image as the model takes it."""
        return classic_batch(self.listing, [position], self.transform)[0]


def samples_of(root: str | None, count: int = 64) -> list[Listing]:
    """Return some images of every domain of PACS; none, and why, where there is no PACS.

    Args:
        root: The folder of PACS; looked for if not given.
        count: Images of every domain.
    """
    facts = benchmark("pacs")
    try:
        place = locate(facts, root)
        if place.root is None:
            raise DataError("PACS is on the hub only; give its folder with `--data ROOT`.")
        rng = np.random.default_rng(0)
        domains = [list_domain(place, name) for name in facts.domains]
    except DataError as error:
        console.note(f"loading is not measured: {error}")
        return []
    return [domain.take(rng.choice(len(domain), min(count, len(domain)), replace=False)) for domain in domains]
