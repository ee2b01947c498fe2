from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.domain import Domain, combined_fingerprint, open_domain
from hamdg.data.splits import draw_per_class, image_classes
from hamdg.errors import DataError


def recipe(root: Path, cache: Path, **changes: object) -> Recipe:
    data = DataConfig(root=str(root), cache=str(cache), augment="clip")
    return Recipe(benchmark="pacs", data=replace(data, **changes))  # type: ignore[arg-type]


def squares(domain: Domain) -> torch.Tensor:
    images = domain.evaluation.read(np.arange(len(domain.labels)))
    assert isinstance(images, torch.Tensor)
    return images


def test_a_folder_is_read_in_the_order_of_classes_and_names(small_pacs: Path, tmp_path: Path) -> None:
    photo = open_domain(recipe(small_pacs, tmp_path), "photo", 32)
    assert photo.labels.tolist() == np.repeat(np.arange(7), 5).tolist()
    assert photo.labels is photo.clean_labels
    files = sorted((small_pacs / "photo").rglob("*.png"), key=lambda path: (path.parent.name, path.name))
    for position, (path, image) in enumerate(zip(files, photo.training.read(np.arange(35)), strict=True)):
        # Smaller than what crops need, so it is kept as it is.
        assert np.array_equal(image.numpy(), np.asarray(Image.open(path))), position


def test_images_are_the_same_whether_they_are_kept_or_not(small_pacs: Path, tmp_path: Path) -> None:
    kept = open_domain(recipe(small_pacs, tmp_path), "sketch", 32)
    decoded = open_domain(recipe(small_pacs, tmp_path, decode_once=False), "sketch", 32)
    first, second = squares(kept), squares(kept)
    assert torch.equal(first, second)
    assert torch.equal(first, squares(decoded))
    assert first.shape == (35, 32, 32, 3)


def test_without_crops_training_sees_what_evaluation_sees(small_pacs: Path, tmp_path: Path) -> None:
    for augment in ("none", "flip_shift"):
        domain = open_domain(recipe(small_pacs, tmp_path, augment=augment), "photo", 32)
        assert domain.training is domain.evaluation


def test_a_subset_is_drawn_of_every_class_by_the_seed(small_pacs: Path, tmp_path: Path) -> None:
    whole = open_domain(recipe(small_pacs, tmp_path), "photo", 32)
    part = open_domain(recipe(small_pacs, tmp_path, subset=2), "photo", 32)
    chosen = draw_per_class(image_classes(whole.labels), 2, 0, PACS.domains.index("photo"), "subset")
    assert len(chosen) == 14
    others = open_domain(replace(recipe(small_pacs, tmp_path, subset=2), seed=1), "photo", 32)
    assert others.fingerprint != part.fingerprint
    assert part.labels.tolist() == whole.labels[chosen].tolist()
    assert torch.equal(squares(part), squares(whole)[chosen])
    assert part.fingerprint != whole.fingerprint


def test_truncated_images_are_read_if_the_recipe_says_so_and_never_kept_with_others(tmp_path: Path) -> None:
    root = tmp_path / "PACS"
    for domain, name in product(PACS.domains, PACS.classes):
        folder = root / domain / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "1.jpg")
    cut = root / "photo" / "dog" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-500])
    for kept in (True, False):
        refusing = open_domain(recipe(root, tmp_path, decode_once=kept), "photo", 32)
        reading = open_domain(recipe(root, tmp_path, decode_once=kept, truncated="read"), "photo", 32)
        assert refusing.fingerprint != reading.fingerprint
        assert squares(reading).shape == (7, 32, 32, 3)
        # Kept images of a run that reads what is left are nothing for one that refuses.
        with pytest.raises(DataError, match=r"1\.jpg` \(image file is truncated.*`--data\.truncated=read` uses what"):
            squares(refusing)


def test_domains_have_fingerprints_of_their_own(small_pacs: Path, tmp_path: Path) -> None:
    domains = [open_domain(recipe(small_pacs, tmp_path), name, 32) for name in PACS.domains]
    assert len({domain.fingerprint for domain in domains}) == 4
    assert combined_fingerprint(domains) != combined_fingerprint(domains[::-1])
    again = [open_domain(recipe(small_pacs, tmp_path), name, 32) for name in PACS.domains]
    assert combined_fingerprint(again) == combined_fingerprint(domains)
