from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hamdg.data.cache.reader import open_images
from hamdg.data.find_images import list_domain
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark
from hamdg.data.transforms import EvaluationView
from hamdg.tools.bench import classic as bench

PACS = benchmark("pacs")


def test_both_ways_evaluate_the_same_images(pacs: Path, tmp_path: Path) -> None:
    listing = list_domain(locate(PACS, str(pacs)), "photo")
    positions = np.array([3, 0, 6])
    images = open_images(listing, EvaluationView(bench.SIDE), tmp_path / "cache").read(positions)

    assert isinstance(images, torch.Tensor)
    expected = bench.classic_batch(listing, positions.tolist(), bench.classic_transform("evaluation"))
    assert torch.equal(bench.FORMAT(images), expected)


def test_the_classic_way_is_domainbeds() -> None:
    steps = repr(bench.classic_transform("domainbed"))

    for step in (
        "RandomResizedCrop(size=(224, 224), scale=(0.7, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear",
        "RandomHorizontalFlip(p=0.5)",
        "ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.3, 0.3))",
        "RandomGrayscale(p=0.1)",
    ):
        assert step in steps
    assert "ColorJitter" not in repr(bench.classic_transform("clip"))
    assert "RandomResizedCrop" in repr(bench.classic_transform("clip"))
