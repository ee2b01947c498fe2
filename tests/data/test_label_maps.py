"""Folders of images and label maps, and label maps on their way into a domain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from hamdg.config.data import DataConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Hub, Lists
from hamdg.data.counts import image_count, source_count
from hamdg.data.custom import custom_benchmark
from hamdg.data.domain import UnlabeledDomain, WallError, open_domain
from hamdg.data.find_images import find_images, list_images
from hamdg.data.label_maps import classes_of_ids
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError
from hamdg.runs.identity import identity

IDS = {"0": "road", "1": "sky", "7": "road", "9": "ignore"}
Map = NDArray[np.uint8]


def save(path: Path, values: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def some_map(seed: int, size: tuple[int, int] = (32, 32)) -> Map:
    return np.random.default_rng(seed).choice(np.array([0, 1, 7, 9, 255], np.uint8), size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of two domains, ten images each, some in folders of their own."""
    root = tmp_path / "streets"
    for number, domain in enumerate(("fog", "game")):
        for index in range(10):
            inner, stem = ("", "aachen/")[index % 2], f"{index:03}"
            image = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            save(root / domain / "images" / f"{inner}{stem}.png", image)
            save(root / domain / "labels" / f"{inner}{stem}.png", some_map(100 * number + index))
    return root


def recipe(root: Path, ids: Mapping[str, str] = IDS, **data: object) -> Recipe:
    config = DataConfig(root=str(root), ids=dict(ids), cache=str(root.parent / "cache"), **data)  # type: ignore[arg-type]
    return Recipe(benchmark="custom", held_out="fog", data=config)


def test_ids_become_classes_in_the_order_of_their_first_id() -> None:
    classes, labels = classes_of_ids({"3": "sky", "1": "road", "2": "ignore", "8": "road"})
    assert classes == ("road", "sky")
    assert labels == {3: 1, 1: 0, 2: 255, 8: 0, 255: 255}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"x": "road"}, "`data.ids` has the id `x`, but ids are whole numbers from 0 to 65535; write `7: car`."),
        ({"1": " "}, "`data.ids` gives the id `1` an empty name; name its class, or `ignore`."),
        ({"1": "road", "01": "sky", "2": "car"}, "`data.ids` names the id 1 twice; keep one."),
        ({"1": "road", "2": "ignore"}, "`data.ids` names 1 class; between 2 and 254 are needed."),
    ],
)
def test_ids_that_mean_nothing_are_refused(ids: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        classes_of_ids(ids)


def test_a_folder_of_maps_is_a_benchmark_for_segmentation(root: Path) -> None:
    found = benchmark_of(recipe(root))
    assert (found.domains, found.classes, found.task) == (("fog", "game"), ("road", "sky"), "segmentation")
    given = [f"--data.root={root}", "--benchmark=custom", "--held_out=fog", "--data.ids={0: road, 1: sky, 9: ignore}"]
    given.append("--model.name=mini-unet")
    assert benchmark_of(read_recipe(None, given)).classes == ("road", "sky")


def test_maps_are_read_as_classes(root: Path) -> None:
    domain = open_domain(recipe(root), "game", 32)
    names = list(list_images(recipe(root), "game").names)
    assert names[:2] == ["000.png", "002.png"]
    assert names[-1] == "aachen/009.png"
    table = {0: 0, 7: 0, 1: 1, 9: 255, 255: 255}
    for position, name in enumerate(names):
        ids = np.asarray(Image.open(root / "game" / "labels" / name))
        expected = np.vectorize(table.get)(ids)
        np.testing.assert_array_equal(domain.labels[position], expected)
    assert (len(domain), str(domain.labels.dtype), domain.labels.shape) == (10, "uint8", (10, 32, 32))
    assert domain.clean_labels is domain.labels


def test_maps_are_resized_to_the_nearest_pixel_like_their_images(root: Path) -> None:
    image, labels = np.zeros((40, 64, 3), np.uint8), np.ones((40, 64), np.uint8)
    image[10:30, 22:42] = 255
    labels[10:30, 22:42] = 0
    save(root / "game" / "images" / "000.png", image)
    save(root / "game" / "labels" / "000.png", labels)
    domain = open_domain(recipe(root), "game", 16)
    (bright,) = np.asarray(domain.evaluation.read(np.array([0])))
    # The short side becomes 16, and the square is from the middle.
    assert domain.labels.shape == (10, 16, 16)
    assert set(np.unique(domain.labels[0])) == {0, 1}
    assert ((domain.labels[0] == 0) == (bright.mean(axis=2) > 127)).mean() > 0.97


def test_names_of_cityscapes_go_together(tmp_path: Path) -> None:
    root = tmp_path / "streets"
    for name in ("day", "game"):
        for index in range(3):
            stem = f"aachen/aachen_{index:06}"
            save(root / name / "images" / f"{stem}_leftImg8bit.png", np.zeros((32, 32, 3), np.uint8))
            save(root / name / "labels" / f"{stem}_gtFine_labelTrainIds.png", np.zeros((32, 32), np.uint8))
            save(root / name / "labels" / f"{stem}_gtFine_labelIds.png", np.full((32, 32), 33, np.uint8))
            save(root / name / "labels" / f"{stem}_gtFine_color.png", np.zeros((32, 32, 3), np.uint8))
            save(root / name / "labels" / f"{stem}_gtFine_instanceIds.png", np.full((32, 32), 26001, np.uint16))
    domain = open_domain(Recipe(benchmark="custom", held_out="day", data=recipe(root).data), "game", 32)
    assert len(domain) == 3
    assert not domain.labels.any()


def test_maps_of_train_ids_are_not_taken_for_those_of_cityscapes_ids(root: Path) -> None:
    for file in list((root / "game" / "labels").rglob("*.png")):
        file.rename(file.with_stem(f"{file.stem}_labelTrainIds"))
    other = root / "game" / "labels" / "002_labelIds.png"
    save(other, some_map(0))
    cityscapes = {"7": "road", "23": "sky", "0": "ignore", "1": "ignore", "9": "ignore"}
    message = (
        f"`{other.parent}` holds `002_labelTrainIds.png`, `002_labelIds.png` and so on, of which the first are read, "
        "but `data.ids` names ids above 18, which train ids do not have; name train ids in `data.ids`, or move one "
        "kind of maps elsewhere."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_images(recipe(root, cityscapes))
    find_images(recipe(root))
    other.unlink()
    find_images(recipe(root, cityscapes))


@pytest.mark.parametrize("mode", ["P", "I;16", "1"])
def test_maps_may_have_other_modes(root: Path, mode: str) -> None:
    ids = (some_map(1) == 1).astype(np.uint8)
    image = {"P": Image.fromarray(ids).convert("L"), "1": Image.fromarray(ids.astype(bool))}.get(mode)
    if mode == "P":
        image = Image.fromarray(ids, "L")
        image.putpalette([5, 5, 5] * 256)
    if image is None:
        image = Image.fromarray(ids.astype(np.uint16))
    assert image.mode == mode
    image.save(root / "fog" / "labels" / "000.png")
    np.testing.assert_array_equal(open_domain(recipe(root), "fog", 32).labels[0], ids)


def test_unknown_ids_are_named_with_their_file(root: Path) -> None:
    values = some_map(0)
    values[0, :3] = (4, 12, 4)
    save(root / "game" / "labels" / "004.png", values)
    file = root / "game" / "labels" / "004.png"
    message = (
        f"1 of 10 label maps of `game` cannot be used: `{file}` (ids 4, 12, which `data.ids` does not name); "
        "correct or replace them, then repeat the command."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_domain(recipe(root), "game", 32)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((32, 30), np.uint8), "it has 30 x 32 pixels, its image 32 x 32"),
        (np.zeros((32, 32, 3), np.uint8), "it has colors (RGB) instead of one id for every pixel"),
    ],
)
def test_maps_that_do_not_fit_are_refused(root: Path, values: Map, reason: str) -> None:
    save(root / "game" / "labels" / "000.png", values)
    with pytest.raises(DataError, match=re.escape(reason)):
        open_domain(recipe(root), "game", 32)


def test_a_map_goes_with_its_image_as_a_viewer_shows_it(root: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pixels, ids = np.zeros((32, 48, 3), np.uint8), np.zeros((48, 32), np.uint8)
    # What is at the left of the file is shown at the top.
    pixels[:, :20], ids[:20] = 255, 1
    image, labels = (root / "game" / inner / "000.png" for inner in ("images", "labels"))
    Image.fromarray(pixels).save(image, exif=exif)
    save(labels, ids)
    domain = open_domain(recipe(root), "game", 32)
    (shown,) = np.asarray(domain.evaluation.read(np.array([0])))
    np.testing.assert_array_equal(shown[..., 0] == 255, domain.labels[0] == 1)
    save(labels, np.ascontiguousarray(ids.T))
    with pytest.raises(DataError, match=r"it has 48 x 32 pixels, its image 32 x 48 as a viewer shows it"):
        open_domain(recipe(root), "game", 32)


def test_a_damaged_map_is_named(root: Path) -> None:
    (root / "game" / "labels" / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"000\.png` \(no image format that Pillow knows"):
        open_domain(recipe(root), "game", 32)


def test_a_map_of_a_damaged_image_says_so(root: Path) -> None:
    (root / "game" / "images" / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"labels/000\.png` \(its image: no image format that Pillow knows"):
        open_domain(recipe(root), "game", 32)


def test_an_empty_map_of_a_held_out_domain_is_found_before_training(root: Path) -> None:
    file = root / "fog" / "labels" / "002.png"
    file.write_bytes(b"")
    message = rf"^1 of 10 label maps of `fog` cannot be used: `{file}` \(the file is empty\)"
    with pytest.raises(DataError, match=message):
        find_images(recipe(root))
    find_images(recipe(root), held_out=False)


def test_images_and_maps_without_the_other_are_named(root: Path) -> None:
    (root / "game" / "labels" / "000.png").unlink()
    with pytest.raises(DataError, match=r"labels` has no label map for `000\.png` of `images`"):
        find_images(recipe(root))
    (root / "game" / "images" / "000.png").unlink()
    (root / "game" / "images" / "002.png").unlink()
    with pytest.raises(DataError, match=r"images` has no image for the label map `002\.png`"):
        find_images(recipe(root))


def test_two_maps_that_are_called_alike_are_refused(root: Path) -> None:
    save(root / "game" / "labels" / "000.bmp", some_map(0))
    with pytest.raises(DataError, match=r"holds `000\.bmp`, `000\.png`, which are called alike; keep one\."):
        find_images(recipe(root))


def test_two_images_of_one_map_are_refused(root: Path) -> None:
    save(root / "game" / "images" / "000_rgb.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"holds `000_rgb\.png`, `000\.png`, which are called alike; keep one\."):
        find_images(recipe(root))


def test_a_subset_takes_images_with_their_maps(root: Path) -> None:
    whole, part = open_domain(recipe(root), "game", 32), open_domain(recipe(root, subset=4), "game", 32)
    assert len(part) == image_count(recipe(root, subset=4), "game") == 4
    names = list(list_images(recipe(root), "game").names)
    for position, name in enumerate(list_images(recipe(root, subset=4), "game").names):
        np.testing.assert_array_equal(part.labels[position], whole.labels[names.index(name)])
    assert source_count(recipe(root, shots=3), "game") == (3, 2)


def test_a_step_without_labels_reads_no_map(root: Path) -> None:
    for file in (root / "fog" / "labels").rglob("*.png"):
        file.write_bytes(b"secret")
    domain = open_domain(recipe(root), "fog", 32, labeled=False)
    assert isinstance(domain, UnlabeledDomain)
    assert len(domain) == 10
    with pytest.raises(WallError):
        _ = domain.labels


def test_other_maps_are_other_data(root: Path) -> None:
    before = open_domain(recipe(root), "game", 32)
    Image.fromarray(some_map(3)).save(root / "game" / "labels" / "000.png", compress_level=0)
    after = open_domain(recipe(root), "game", 32)
    assert after.fingerprint != before.fingerprint
    assert (after.labels[0] != before.labels[0]).any()


def test_other_ids_are_another_run(root: Path) -> None:
    first = identity(recipe(root))
    assert identity(recipe(root, IDS | {"9": "car"})) != first
    assert identity(recipe(root)) == first


def test_decoded_maps_are_kept_while_their_files_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files that were just written may change within a tick of the clock, which their stamps then could not tell.
    monkeypatch.setattr("hamdg.data.folders.scan.stamp_of", lambda status: status.st_size + 1)
    first = np.array(open_domain(recipe(root), "game", 32).labels)
    monkeypatch.setattr("hamdg.data.label_maps._decoded", None)
    np.testing.assert_array_equal(open_domain(recipe(root), "game", 32).labels, first)
    monkeypatch.undo()
    Image.fromarray(some_map(3)).save(root / "game" / "labels" / "000.png", compress_level=0)
    assert (open_domain(recipe(root), "game", 32).labels[0] != first[0]).any()


def test_ids_are_asked_for_where_folders_hold_maps(root: Path) -> None:
    message = r"hold `images` and `labels`; say with `data\.ids` what the ids in their label maps mean"
    with pytest.raises(DataError, match=message):
        benchmark_of(Recipe(benchmark="custom", held_out="fog", data=DataConfig(root=str(root))))


def test_lists_and_tables_have_no_label_maps(root: Path) -> None:
    message = r"^`data\.ids` means label maps, but list files and tables name images with a class each; leave out one"
    lists = Lists(root / "list.csv", root)
    for place in ({"root": None, "hub": Hub("table.parquet")}, {"root": None, "hub": None, "lists": lists}):
        with pytest.raises(ConfigError, match=message):
            custom_benchmark(**place, ids=IDS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--data.augment=clip"], "`data.augment` is `clip`, which does not move label maps along with their images; "),
        (["--data.lists=a.csv"], "`data.lists` names images with a class each, but `data.ids` means label maps; "),
        (["--benchmark=pacs"], "`data.ids` belongs to `benchmark: custom`; leave it out of `pacs`"),
    ],
)
def test_recipes_that_do_not_go_with_maps_are_refused(root: Path, overrides: list[str], message: str) -> None:
    held_out = "--held_out=" + ("sketch" if "pacs" in overrides[0] else "fog")
    place = [] if "pacs" in overrides[0] else [f"--data.root={root}"]
    given = ["--benchmark=custom", held_out, *place, "--data.ids={0: road, 1: sky, 7: road, 9: ignore}", *overrides]
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        read_recipe(None, given)


def test_mini_scenes_refuses_cropping_too() -> None:
    given = ["--benchmark=mini-scenes", "--held_out=fog", "--model.name=mini-unet", "--data.augment=domainbed"]
    with pytest.raises(ConfigError, match=r"^`data\.augment` is `domainbed`, which does not move label maps"):
        read_recipe(None, given)
