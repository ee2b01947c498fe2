"""Activations in the cache: what is in them, who shares them, and what is refused."""

from __future__ import annotations

import gc
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe, TrainConfig
from hamdg.data.activations import evaluation_views, missing_bytes, open_activations
from hamdg.data.batches import Batch, sample_views
from hamdg.data.cache.stores import delete, is_used, stores
from hamdg.data.domain import open_domain
from hamdg.data.module import SourceData
from hamdg.data.preprocess import Preprocess
from hamdg.data.registry import benchmark
from hamdg.errors import DataError, StorageError

SMALL = Preprocess(16, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
FORMAT = Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@dataclass
class Pooling:
    """Frozen layers: means of 4 x 4 pixels, times a factor, and how often they were asked."""

    factor: float = 1.0
    calls: list[int] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return f"means times {self.factor}"

    def __call__(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        return torch.nn.functional.avg_pool2d(images, 4) * self.factor


Make = Callable[..., SourceData]


@pytest.fixture
def data(tmp_path: Path) -> Make:
    def make(layers: Pooling | None, seed: int = 0, **changes: object) -> SourceData:
        mini = MiniConfig(images_per_class=4, image_size=32)
        config = DataConfig(batch_size=4, augment="flip_shift", cache=str(tmp_path), mini=mini, views=3)
        recipe = Recipe(seed=seed, data=replace(config, **changes), train=TrainConfig(steps=6))  # type: ignore[arg-type]
        found = SourceData(recipe, FORMAT, layers=layers)
        found.setup()
        return found

    return make


def batches(found: SourceData, step: int) -> dict[str, Batch]:
    return found.on_after_batch_transfer((step, found.train_dataloader().batches(step)), 0)[1]


def files(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in (folder / "activations").glob("*/values.npy"))


def test_without_augmentation_batches_carry_the_activations_of_their_images(data: Make) -> None:
    layers = Pooling()
    cached = batches(data(layers, augment="none", views=1), step=2)
    plain = batches(data(None, augment="none"), step=2)
    for name, batch in cached.items():
        assert torch.equal(batch.positions, plain[name].positions)
        assert torch.equal(batch.labels, plain[name].labels)
        assert batch.images.shape == (4, 3, 8, 8)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch.images, layers(plain[name].images).half().float())


def test_each_step_takes_one_of_the_views_at_random(data: Make) -> None:
    found = data(Pooling())
    seen: dict[int, set[bytes]] = {}
    for step in range(60):
        batch = batches(found, step)["photo"]
        for position, image in zip(batch.positions.tolist(), batch.images, strict=True):
            seen.setdefault(position, set()).add(image.numpy().tobytes())
    assert set(seen) == set(found.train_part["photo"].tolist())
    # Flips and shifts make views that differ.
    assert max(map(len, seen.values())) == 3
    views = np.stack([sample_views(3, 4, step, 0, 1) for step in range(3000)])
    np.testing.assert_allclose(np.bincount(views.ravel()) / views.size, 1 / 3, atol=0.02)
    assert not np.array_equal(sample_views(3, 4, 5, 0, 1), sample_views(3, 4, 5, 1, 1)) or not np.array_equal(
        sample_views(3, 4, 6, 0, 1), sample_views(3, 4, 6, 1, 1)
    )


def test_equal_activations_are_computed_once_and_others_apart(data: Make, tmp_path: Path) -> None:
    first = Pooling()
    one = batches(data(first), step=1)
    count = 3 * sum(len(part) for part in data(None).train_part.values())
    assert sum(first.calls) == count
    written = files(tmp_path)
    assert len(written) == 3
    again = Pooling()
    other = batches(data(again, batch_size=4), step=1)
    assert not again.calls
    assert all(torch.equal(one[name].images, other[name].images) for name in one)
    changes: list[dict[str, object]] = [{"views": 2}, {"augment": "clip"}, {"seed": 1}, {"shots": 2}]
    for number, change in enumerate(changes, start=2):
        data(Pooling(), **change).prepare()
        assert len(files(tmp_path)) == 3 * number
    data(Pooling(factor=2)).prepare()
    assert len(files(tmp_path)) == 3 * (len(changes) + 2)


def test_hold_out_sets_are_activations_of_images_that_are_not_augmented_for_all_seeds(data: Make) -> None:
    layers, plain = Pooling(), data(None)
    for name, part in data(layers).holdouts().items():
        images = plain.holdouts()[name].images.read(part.positions)
        assert isinstance(images, Tensor)
        ((found, labels),) = part.parts(100)
        assert found.dtype == torch.float16
        assert torch.equal(found, layers(FORMAT(images)).half())
        assert torch.equal(FORMAT(found), found.float())
        assert labels.tolist() == plain.domains[name].labels[plain.validation_part[name]].tolist()
    again = Pooling()
    data(again, seed=1, views=2, augment="none").holdouts()
    assert not again.calls


def test_images_need_not_be_there_once_their_activations_are(data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data(Pooling()).prepare()
    found = data(Pooling())

    def read(*_: object) -> Tensor:
        raise AssertionError("images are read")

    for domain in found.domains.values():
        monkeypatch.setattr(type(domain.training), "read", read)
    assert batches(found, 3)["photo"].images.shape == (4, 3, 8, 8)


def test_a_killed_computation_leaves_nothing_behind(data: Make, tmp_path: Path) -> None:
    class Killed(Pooling):
        def __call__(self, images: Tensor) -> Tensor:
            if self.calls:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        data(Killed()).prepare()
    assert files(tmp_path) == []
    assert not list((tmp_path / "activations").rglob("*.tmp*"))
    data(Pooling()).prepare()
    assert len(files(tmp_path)) == 3


def test_what_a_killed_process_left_is_replaced(data: Make, tmp_path: Path) -> None:
    data(Pooling()).prepare()
    for folder in (tmp_path / "activations").iterdir():
        (folder / "values.npy").rename(folder / ".values.npy-abcd.tmp.npy")
    assert [(one.there, one.outdated) for one in stores(tmp_path)] == [(0, False)] * 3
    data(Pooling()).prepare()
    assert not list((tmp_path / "activations").rglob(".*"))
    assert [one.there == one.images > 0 for one in stores(tmp_path)] == [True] * 3


@pytest.mark.parametrize("damage", [b"", b"not an array"])
def test_a_damaged_file_is_computed_again(data: Make, tmp_path: Path, damage: bytes) -> None:
    data(Pooling()).prepare()
    (one, *_) = (tmp_path / "activations").glob("*/values.npy")
    whole = one.read_bytes()
    one.write_bytes(damage or whole[:-2])
    data(Pooling()).prepare()
    assert one.read_bytes() == whole


def test_stores_say_what_they_hold_and_those_in_use_stay(data: Make, tmp_path: Path) -> None:
    found = data(Pooling())
    found.prepare()
    kept = {one.domain: one for one in stores(tmp_path)}
    assert kept.keys() == found.domains.keys()
    photo, count = kept["photo"], len(found.train_part["photo"])
    assert (photo.place, photo.view, photo.images, photo.there, photo.outdated) == (
        "rendered",
        "3 views",
        count,
        count,
        False,
    )
    assert 3 * count * 3 * 8 * 8 * 2 <= photo.size < 3 * count * 3 * 8 * 8 * 2 + 30_000
    assert is_used(photo)
    assert not delete(photo)
    del found
    gc.collect()
    assert delete(photo)
    assert {one.domain for one in stores(tmp_path)} == kept.keys() - {"photo"}


def pictures(root: Path) -> Recipe:
    """Write an image of each class of PACS as photo, and return a recipe that reads them."""
    rng = np.random.default_rng(0)
    for name in benchmark("pacs").classes:
        folder = root / "PACS" / "photo" / name
        folder.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "one.bmp")
    return read_recipe(None, ["--benchmark=pacs", f"--data.root={root / 'PACS'}", f"--data.cache={root}"])


def test_other_images_in_files_of_the_same_names_and_sizes_have_their_own(tmp_path: Path) -> None:
    recipe, rng = pictures(tmp_path), np.random.default_rng(1)
    cpu, every = torch.device("cpu"), np.arange(7)

    def read() -> tuple[int, Tensor]:
        domain = open_domain(recipe, "photo", 16)
        views = evaluation_views(recipe, domain, SMALL)
        missing = missing_bytes(tmp_path, domain, every, views, Pooling(), torch.zeros(1, 3, 16, 16))
        found = open_activations(tmp_path, domain, every, views, Pooling(), cpu)
        return missing, found.read(every, np.zeros(7, np.int64))

    need, before = read()
    assert need == 7 * 3 * 4 * 4 * 2
    assert read()[0] == 0
    path = tmp_path / "PACS" / "photo" / "dog" / "one.bmp"
    size = path.stat().st_size
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    assert path.stat().st_size == size
    need, after = read()
    assert need == 7 * 3 * 4 * 4 * 2
    assert (before != after).flatten(1).any(dim=1).tolist() == [True, *6 * [False]]


def test_another_release_of_pillow_has_its_own_and_those_that_name_none_are_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, layers = pictures(tmp_path), Pooling()
    domain, positions = open_domain(recipe, "photo", 16), np.arange(7)
    views = evaluation_views(recipe, domain, SMALL)

    def read() -> None:
        open_activations(tmp_path, domain, positions, views, layers, torch.device("cpu"))

    read()
    monkeypatch.setattr("PIL.__version__", "0.1")
    assert missing_bytes(tmp_path, domain, positions, views, Pooling(), torch.zeros(1, 3, 16, 16)) > 0
    read()
    assert sum(layers.calls) == 14
    own = [one for one in stores(tmp_path) if one.folder.parent.name == "activations"]
    assert sorted(one.outdated for one in own) == [False, True]
    # As they were written before the release was noted.
    (current,) = (one.folder for one in own if not one.outdated)
    about = json.loads((current / "about.json").read_text())
    del about["pillow"]
    text = json.dumps(about, sort_keys=True)
    (current / "about.json").write_text(text)
    current.rename(current.with_name(f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-activations"))
    read()
    assert sum(layers.calls) == 14
    assert sorted(one.outdated for one in stores(tmp_path) if one.folder.parent.name == "activations") == [False, True]


def test_other_processes_open_the_file_themselves(data: Make) -> None:
    found = data(Pooling())
    own = batches(found, 1)["photo"]
    activations = found.activations["photo"]
    sent = pickle.dumps(activations)
    assert len(sent) < 2_000
    positions, views = own.positions.numpy(), sample_views(3, 4, 1, 0, found.number("photo"))
    assert torch.equal(pickle.loads(sent).read(positions, views).float(), own.images)


def test_a_machine_whose_cache_has_no_activations_computes_its_own(data: Make, tmp_path: Path) -> None:
    found = data(Pooling())
    before = batches(found, 1)["photo"].images
    shutil.rmtree(tmp_path / "activations")
    sent = pickle.loads(pickle.dumps(found.activations))
    found.activations = sent
    assert torch.equal(batches(found, 1)["photo"].images, before)
    assert len(files(tmp_path)) == 3


def test_activations_beyond_half_precision_are_refused(data: Make, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"An activation of the frozen layers for an image of `.*` is not finite, or too"
    ):
        data(Pooling(factor=1e6)).prepare()
    assert files(tmp_path) == []


def test_a_disk_that_is_too_small_is_refused_before_it_is_full(
    data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamdg.data.cache.disk.free_bytes", lambda folder: 1000)
    with pytest.raises(StorageError, match=r"Keeping 3 x .* activations of `.*` needs .* MB .* lower `data.views`"):
        data(Pooling()).prepare()
    assert files(tmp_path) == []
