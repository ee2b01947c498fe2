"""Domains that are sent to other processes: they read the same images there, and no pixels travel."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.domain import UnlabeledDomain, open_domain


@pytest.mark.parametrize(
    "data",
    [
        DataConfig(),
        DataConfig(augment="clip"),
        DataConfig(store="compressed", augment="domainbed"),
        DataConfig(decode_once=False),
    ],
    ids=["uncompressed", "cropped", "compressed", "decoded each time"],
)
def test_a_domain_of_files_is_opened_again(small_pacs: Path, data: DataConfig) -> None:
    recipe = Recipe(benchmark="pacs", held_out="sketch", data=replace(data, root=str(small_pacs.parent)))
    domain, some = open_domain(recipe, "photo", 32), np.array([3, 0, 17])
    domain.training.prepare(some)
    sent = pickle.dumps(domain)
    assert len(sent) < 20_000
    again = pickle.loads(sent)
    assert again.name == domain.name
    assert again.fingerprint == domain.fingerprint
    np.testing.assert_array_equal(again.labels, domain.labels)
    for found, expected in ((again.training, domain.training), (again.evaluation, domain.evaluation)):
        for one, other in zip(found.read(some), expected.read(some), strict=True):
            assert torch.equal(one, other)


def test_a_domain_with_label_maps_is_opened_again(tmp_path: Path) -> None:
    for file in ("a/images/0.png", "a/labels/0.png", "b/images/0.png", "b/labels/0.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB" if "images" in file else "L", (32, 32), 1).save(tmp_path / file)
    data = DataConfig(root=str(tmp_path), ids={"0": "road", "1": "sky"}, cache=str(tmp_path / "cache"))
    domain = open_domain(Recipe(benchmark="custom", held_out="a", data=data), "b", 32)
    again = pickle.loads(pickle.dumps(domain))
    assert again.fingerprint == domain.fingerprint
    np.testing.assert_array_equal(again.labels, domain.labels)
    assert torch.equal(again.training.read(np.arange(1)), torch.as_tensor(domain.training.read(np.arange(1))))


def test_labels_that_are_withheld_are_withheld_there_too() -> None:
    domain = open_domain(Recipe(), "photo", 48)
    again = pickle.loads(pickle.dumps(UnlabeledDomain(domain)))
    assert isinstance(again, UnlabeledDomain)
    assert torch.equal(
        torch.as_tensor(again.training.read(np.arange(3))), torch.as_tensor(domain.training.read(np.arange(3)))
    )
    with pytest.raises(RuntimeError, match="are not for this step"):
        _ = again.labels
