"""Label maps through batches, augmentation, hold-out sets and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hamdg.config.data import DataConfig, ScenesConfig
from hamdg.config.recipe import Recipe, TrainConfig
from hamdg.data.augment import flip_shift, flip_shift_maps
from hamdg.data.batches import Batch, concatenate
from hamdg.data.domain import open_domain
from hamdg.data.images import ArrayImages
from hamdg.data.module import SourceData
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError

PLAIN = Preprocess(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("rendered"))


def recipe(cache: str, **data: object) -> Recipe:
    scenes = ScenesConfig(images=10, image_size=32)
    config = DataConfig(batch_size=4, cache=cache, scenes=scenes, **data)  # type: ignore[arg-type]
    others: list[str | int] = ["day", "fog", "rain"]
    return Recipe("mini-scenes", "dusk", excluded=others, data=config, train=TrainConfig(steps=4, warmup=0))


def batches(data: SourceData, step: int = 0) -> dict[str, Batch]:
    data.setup()
    return data.on_after_batch_transfer((step, data.train_dataloader().batches(step)), 0)[1]


def test_batches_have_maps(cache: str) -> None:
    data = SourceData(recipe(cache, augment="none"), PLAIN)
    (batch,) = batches(data).values()
    domain = data.domains["game"]
    assert (batch.images.shape, batch.labels.shape) == ((4, 3, 32, 32), (4, 32, 32))
    positions = batch.positions.numpy()
    np.testing.assert_array_equal(batch.labels.numpy(), domain.labels[positions])
    assert batch.clean_labels is batch.labels
    assert concatenate([batch, batch]).labels.shape == (8, 32, 32)


def test_maps_move_with_their_images(cache: str) -> None:
    data = SourceData(recipe(cache, augment="flip_shift"), PLAIN)
    data.setup()
    # Images that show their own maps: wherever a pixel goes, its label goes too.
    maps = data.domains["game"].labels.astype(np.uint8)
    images = np.stack([maps, maps, maps], axis=3)
    object.__setattr__(data.domains["game"], "training", ArrayImages(images))
    moved = 0
    for step in range(4):
        batch = batches(data, step)["game"]
        shown = (batch.images[:, 0] * 255).round().long()
        labels = batch.labels.long()
        same = shown == labels
        assert bool((same | (labels == 255)).all())
        moved += int((~same).sum())
        for image, label in zip(same, labels, strict=True):
            # At most 1/16 of a side is vacated, and whole rows and columns of it.
            vacated = (~image) & (label == 255)
            assert int(vacated.any(dim=1).all()) + int(vacated.any(dim=0).all()) <= 2
    assert moved > 0


@pytest.mark.parametrize("seed", range(5))
def test_flip_and_shift_of_a_map_are_those_of_its_image(seed: int) -> None:
    maps = torch.randint(0, 9, (6, 16, 20), generator=torch.Generator().manual_seed(9), dtype=torch.uint8)
    images = maps[:, None].float().expand(-1, 3, -1, -1)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    shifted, labels = (
        flip_shift(images, generator(), 0.25)[:, 0].to(torch.uint8),
        flip_shift_maps(maps, generator(), 255, 0.25),
    )
    inside = labels != 255
    assert torch.equal(shifted[inside], labels[inside])
    expected = _vacated(6, 16, 20, generator())
    assert torch.equal(~inside, expected)
    # A part of a batch moves as in the whole.
    part = flip_shift_maps(maps[2:4], generator(), 255, 0.25, first=2, whole=6)
    assert torch.equal(part, labels[2:4])


def _vacated(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return in loops which pixels come from outside."""
    flips = torch.rand(count, generator=generator) < 0.5
    dy = torch.randint(-4, 5, (count,), generator=generator).tolist()
    dx = torch.randint(-5, 6, (count,), generator=generator).tolist()
    found = torch.zeros(count, height, width, dtype=torch.bool)
    for image in range(count):
        for row in range(height):
            for column in range(width):
                from_column = (width - 1 - column if flips[image] else column) + dx[image]
                outside = not 0 <= row + dy[image] < height or not 0 <= from_column < width
                found[image, row, column] = outside
    return found


def test_cropping_is_refused_by_name(cache: str) -> None:
    data = SourceData(recipe(cache, augment="clip"), PLAIN)
    with pytest.raises(ConfigError, match=r"^`data\.augment` is `clip`, which does not move label maps along"):
        batches(data)


def test_hold_out_sets_have_maps_and_no_class_is_missed(cache: str) -> None:
    data = SourceData(recipe(cache), PLAIN)
    data.setup()
    (part,) = data.holdouts().values()
    found = list(part.parts(1))
    assert len(found) == 2
    for position, (images, labels) in zip(part.positions, found, strict=True):
        np.testing.assert_array_equal(labels[0].numpy(), data.domains["game"].labels[position])
        assert images.shape == (1, 32, 32, 3)
    assert part.first(1).labels.shape == (1, 32, 32)


def test_shots_and_subset_count_images(cache: str) -> None:
    data = SourceData(recipe(cache, shots=5), PLAIN)
    data.setup()
    assert len(data.train_part["game"]) == 5
    assert len(open_domain(recipe(cache, subset=6), "game", 32)) == 6


def test_a_model_of_another_side_is_refused(cache: str) -> None:
    with pytest.raises(ConfigError, match=r"images of 48 pixels, but the label maps of `mini-scenes` have 32; set "):
        open_domain(recipe(cache), "game", 48)


def test_the_cache_is_used(cache: str) -> None:
    open_domain(recipe(cache), "game", 32)
    assert len(list(Path(cache).glob("mini-scenes-game-*"))) == 2
