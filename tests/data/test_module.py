from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch

from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.recipe import Recipe, TrainConfig
from hamdg.data.batches import Batch, Labels, RawBatch, concatenate
from hamdg.data.domain import Domain, open_domain
from hamdg.data.module import SourceData, split_domain, without_holdout
from hamdg.data.preprocess import Preprocess
from hamdg.data.registry import benchmark
from hamdg.data.splits import split
from hamdg.errors import ConfigError, DataError
from hamdg.mini import DomainArrays

FORMAT = Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
COUNT = 70
Augment = Literal["none", "flip_shift", "clip", "domainbed"]


def recipe(augment: Augment = "flip_shift", held_out: str = "sketch", seed: int = 0) -> Recipe:
    data = DataConfig(
        batch_size=4, validation_fraction=0.2, subset=None, augment=augment, cache="somewhere", mini=MiniConfig(seed=7)
    )
    return Recipe(held_out=held_out, seed=seed, data=data, train=TrainConfig(steps=20))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put random images in the place of rendered ones, and note which domains are asked for."""
    names: list[str] = []

    def load(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        assert (config.seed, cache) == (7, Path("somewhere"))
        names.append(domain)
        rng = np.random.default_rng(benchmark("mini").domains.index(domain))
        clean = np.arange(COUNT) % 7
        labels = np.where(rng.random(COUNT) < 0.3, (clean + 1) % 7, clean)
        return DomainArrays(domain, rng.integers(0, 256, (COUNT, 48, 48, 3), dtype=np.uint8), labels, clean)

    monkeypatch.setattr("hamdg.mini.rendered.load_domain", load)
    return names


def batches(data: SourceData, step: int) -> dict[str, Batch]:
    data.setup()
    raw = data.train_dataloader().batches(step)
    given, prepared = data.on_after_batch_transfer((step, raw), 0)
    assert given == step
    return prepared


@pytest.mark.parametrize("held_out", benchmark("mini").domains)
def test_the_held_out_domain_is_never_opened(opened: list[str], held_out: str) -> None:
    data = SourceData(recipe(held_out=held_out), FORMAT)
    data.setup("fit")
    data.setup("fit")
    for step, batch in data.train_dataloader():
        data.on_after_batch_transfer((step, batch), 0)

    assert opened == [name for name in benchmark("mini").domains if name != held_out]
    assert list(data.domains) == list(data.train_part) == list(data.validation_part) == opened


def test_a_setup_that_has_failed_leaves_no_domains_behind(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(recipe: Recipe, name: str, side: int) -> Domain:
        if name == "cartoon":
            raise DataError("images of `cartoon` cannot be read")
        return open_domain(recipe, name, side)

    data = SourceData(recipe(), FORMAT)
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.data.module.open_domain", refuse)
        with pytest.raises(DataError, match="cannot be read"):
            data.setup()
    data.setup()
    assert list(data.domains) == ["art_painting", "cartoon", "photo"]
    assert opened == ["art_painting", *data.domains]


def test_batches_come_from_the_training_part_alone(opened: list[str]) -> None:
    data = SourceData(recipe(), FORMAT)
    data.setup()
    seen: dict[str, set[int]] = {name: set() for name in data.domains}
    for _, found in data.train_dataloader():
        for name, batch in found.items():
            seen[name] |= set(batch.positions.tolist())

    for index, name in enumerate(opened):
        train, validation = split(COUNT, 0.2, 0, index)
        assert seen[name] == set(train.tolist())  # 80 draws are more than one pass over 56
        assert data.validation_part[name].tolist() == validation.tolist()


def test_augmentation_depends_on_seed_step_and_domain_alone(opened: list[str]) -> None:
    first = batches(SourceData(recipe(), FORMAT), 3)
    data = SourceData(recipe(), FORMAT)
    batches(data, 8)
    torch.manual_seed(5)
    again = batches(data, 3)

    assert all(torch.equal(first[name].images, again[name].images) for name in first)
    same = batches(SourceData(recipe(), FORMAT), 3)["photo"].positions
    data.setup()
    raw = data.train_dataloader().batches(3)
    assert torch.equal(raw["photo"].positions, same)
    later = data.on_after_batch_transfer((4, raw), 0)[1]
    swapped = data.on_after_batch_transfer((3, {"cartoon": raw["photo"]}), 0)[1]
    seeded = SourceData(recipe(seed=1), FORMAT).on_after_batch_transfer((3, raw), 0)[1]
    for other in (later["photo"], swapped["cartoon"], seeded["photo"]):
        assert not torch.equal(other.images, first["photo"].images)


@pytest.mark.parametrize("augment", ["none", "flip_shift", "clip", "domainbed"])
def test_parts_of_a_batch_are_those_of_the_whole_batch(opened: list[str], augment: Augment) -> None:
    whole = batches(SourceData(recipe(augment), FORMAT), 3)
    parts = []
    for index in range(3):
        data = SourceData(recipe(augment), FORMAT)
        # As a Trainer of three processes makes it known.
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=index, world_size=3, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        parts.append(batches(data, 3))
    for name, batch in whole.items():
        assert [len(part[name].positions) for part in parts] == [1, 1, 2]
        joined = concatenate([part[name] for part in parts])
        assert torch.equal(joined.positions, batch.positions)
        assert torch.equal(joined.labels, batch.labels)
        assert torch.equal(joined.images, batch.images)


def test_augmentation_can_be_switched_off(opened: list[str]) -> None:
    data = SourceData(recipe("none"), FORMAT)
    plain = batches(data, 2)
    raw = data.train_dataloader().batches(2)

    for name, batch in plain.items():
        assert torch.equal(batch.images, FORMAT(torch.as_tensor(raw[name].images)))
        assert batch.images.shape == (4, 3, 32, 32)
        assert (given := raw[name].given) is not None
        assert torch.equal(batch.labels, given.noisy)
    augmented = batches(SourceData(recipe("flip_shift"), FORMAT), 2)
    assert not torch.equal(augmented["photo"].images, plain["photo"].images)
    assert torch.equal(augmented["photo"].positions, plain["photo"].positions)


def test_a_flat_image_is_normalized_and_not_changed_otherwise(opened: list[str]) -> None:
    data = SourceData(recipe(), FORMAT)
    gray = torch.full((2, 48, 48, 3), 51, dtype=torch.uint8)
    labels = torch.zeros(2, dtype=torch.int64)
    _, prepared = data.on_after_batch_transfer((0, {"photo": RawBatch(gray, labels, Labels(labels, labels))}), 0)

    expected = torch.tensor([(0.2 - 0.5) / 0.2, (0.2 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]).view(1, 3, 1, 1)
    torch.testing.assert_close(prepared["photo"].images, expected.expand(2, 3, 32, 32))


def test_a_subset_is_taken_by_the_true_class(opened: list[str]) -> None:
    small = replace(recipe(), data=replace(recipe().data, subset=4))
    arrays = open_domain(small, "photo", 32)

    assert np.bincount(arrays.clean_labels).tolist() == [4] * 7
    assert len(arrays.training) == len(arrays.evaluation) == len(arrays.labels) == 28
    assert (arrays.labels != arrays.clean_labels).any()
    assert [part.tolist() for part in split_domain(small, arrays)] == [p.tolist() for p in split(28, 0.2, 0, 2)]


def test_shots_are_drawn_from_the_training_part_and_leave_the_hold_out_whole(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(recipe(), data=replace(recipe().data, shots=3))
    data = SourceData(few, FORMAT)
    data.setup()
    for index, (name, domain) in enumerate(data.domains.items()):
        train, validation = split(COUNT, 0.2, 0, index)
        assert data.validation_part[name].tolist() == validation.tolist()
        own = data.train_part[name]
        assert set(own.tolist()) < set(train.tolist())
        assert np.bincount(domain.clean_labels[own]).tolist() == [3] * 7
        # In DomainBed's order, like the whole training part.
        assert own.tolist() == [position for position in train.tolist() if position in set(own.tolist())]
        assert len(data.holdouts()[name].positions) == len(validation)
    assert "fewer than" not in capsys.readouterr().out
    seen = {int(one) for _, found in data.train_dataloader() for one in found["photo"].positions}
    assert seen == set(data.train_part["photo"].tolist())
    # The held-out domain has no shots.
    assert len(split_domain(few, open_domain(few, "sketch", 32))[0]) == 56


def test_excluded_domains_are_not_opened(opened: list[str]) -> None:
    data = SourceData(replace(recipe(), excluded=["photo"]), FORMAT)
    data.setup()
    assert list(data.domains) == ["art_painting", "cartoon"]
    assert set(opened) == {"art_painting", "cartoon"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"shots": 2}, "with `data.shots` 2 domain `art_painting` has only 14 training images; use at most 14"),
        ({"shots": 2, "subset": 5}, "with `data.shots` 2 and `data.subset` 5 domain `art_painting` has only 14"),
    ],
)
def test_a_batch_larger_than_the_shots_names_them(opened: list[str], limits: dict[str, int], said: str) -> None:
    few = replace(recipe(), data=replace(recipe().data, batch_size=16, **limits))  # type: ignore[arg-type]
    data = SourceData(few, FORMAT)
    data.setup()
    with pytest.raises(ConfigError) as caught:
        data.train_dataloader()
    assert str(caught.value).startswith(f"`data.batch_size` is 16, but {said}")


def test_too_many_shots_take_all_and_say_so(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    data = SourceData(replace(recipe(), data=replace(recipe().data, shots=8)), FORMAT)
    data.setup()
    train, _ = split(COUNT, 0.2, 0, 2)
    counts = np.bincount(np.arange(COUNT)[train] % 7)
    assert counts.min() < 8 < counts.max()
    assert len(data.train_part["photo"]) == np.minimum(counts, 8).sum()
    few = ", ".join(f"{n} of `{name}`" for name, n in zip(data.bench.classes, counts, strict=True) if n < 8)
    said = capsys.readouterr().out
    assert f"photo: fewer than 8 training images of some classes, so all of them are taken: {few}\n" in said


def test_shots_are_drawn_from_what_the_subset_leaves(opened: list[str]) -> None:
    both = replace(recipe(), data=replace(recipe().data, subset=5, shots=2))
    data = SourceData(both, FORMAT)
    data.setup()
    assert [len(part) for part in data.validation_part.values()] == [7] * 3
    for name, domain in data.domains.items():
        assert len(domain.labels) == 35
        assert max(np.bincount(domain.clean_labels[data.train_part[name]])) == 2


def test_a_subset_too_small_for_the_split_names_the_domain(opened: list[str]) -> None:
    tiny = replace(recipe(), data=replace(recipe().data, subset=1, validation_fraction=0.5))
    with pytest.raises(DataError, match=r"^domain `art_painting` has no training image of class "):
        SourceData(tiny, FORMAT).setup()


def test_the_train_loader_has_the_recipes_length(
    opened: list[str],
) -> None:
    data = SourceData(recipe(), FORMAT)
    data.setup()
    loader = data.train_dataloader()

    assert (len(loader), loader.batch_size, loader.seed) == (20, 4, 0)
    assert loader.order == {"art_painting": 0, "cartoon": 1, "photo": 2}


def test_without_hold_out_sets_all_images_train(opened: list[str]) -> None:
    whole, usual = SourceData(without_holdout(recipe()), FORMAT), SourceData(recipe(), FORMAT)
    for data in (whole, usual):
        data.setup()
    assert (whole.holdouts(), list(usual.holdouts())) == ({}, opened[:3])
    for name in opened[:3]:
        assert sorted(whole.train_part[name]) == list(range(COUNT))
        assert sorted([*usual.train_part[name], *usual.validation_part[name]]) == list(range(COUNT))
    assert len(batches(whole, 0)["photo"].images) == 4


def test_a_hold_out_set_that_is_to_be_there_may_still_not_be_empty(opened: list[str]) -> None:
    few = replace(recipe(), data=replace(recipe().data, validation_fraction=0.01))
    with pytest.raises(DataError, match=r"no validation image: `data\.validation_fraction` of 0\.01 leaves 0 of 70"):
        SourceData(few, FORMAT).setup()
