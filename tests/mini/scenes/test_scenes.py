from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hamdg.config.data import ScenesConfig
from hamdg.errors import ConfigError
from hamdg.mini import data_digest
from hamdg.mini.scenes import CLASSES, DOMAINS, benchmark, load_scenes, render_scene, render_scenes
from hamdg.mini.scenes.benchmark import majority
from hamdg.mini.scenes.canvas import SKY_DEPTH, Camera, Canvas
from hamdg.mini.scenes.looks import LOOKS, seen_in

SMALL = ScenesConfig(images=6, image_size=32)
FEW = ScenesConfig(images=24)


def shares(labels: NDArray[np.int64] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return which share of the pixels each class has."""
    found: NDArray[np.float64] = np.bincount(labels.ravel(), minlength=256) / labels.size
    return found


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_scene_is_a_function_of_seed_domain_and_index(domain: str) -> None:
    image, labels = render_scene(domain, 3, FEW)
    again, same = render_scene(domain, 3, FEW)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, same)
    assert image.shape == (64, 64, 3)
    assert labels.shape == (64, 64)
    for other in (render_scene(domain, 4, FEW), render_scene(domain, 3, replace(FEW, seed=1))):
        assert (other[1] != labels).mean() > 0.05


def test_every_look_has_every_class_as_often_and_some_pixels_without_one() -> None:
    found = {name: shares(render_scenes(name, FEW).labels) for name in DOMAINS}
    for name, one in found.items():
        assert one[: len(CLASSES)].min() > 0.002, name
        assert 0.02 < one[255] < 0.2
        assert one[: len(CLASSES)].sum() + one[255] == pytest.approx(1)
        # Streets are drawn alike in all looks.
        np.testing.assert_allclose(one, found["game"], atol=0.06)


def test_looks_differ_in_light() -> None:
    images = {name: render_scenes(name, FEW).images.mean(axis=(0, 1, 2)) for name in DOMAINS}
    brightness = {name: float(image.mean()) for name, image in images.items()}
    assert brightness["dusk"] < 0.7 * brightness["game"]
    assert brightness["fog"] > brightness["rain"] > brightness["dusk"]
    # A warm cast.
    assert images["dusk"][0] > images["dusk"][1]
    assert images["day"][0] - images["day"][2] > images["game"][0] - images["game"][2]


def test_haze_grows_with_the_distance() -> None:
    canvas = Canvas(Camera(64, 55.0, 1.5, 32.0, 28.0), 5)
    canvas.ground(0, (90, 90, 90), [(-50, 1), (50, 1), (50, 500), (-50, 500)])
    view = canvas.view()
    look = replace(LOOKS["fog"], noise=0.0, texture=0.0, contrast=1.0)
    image = seen_in(look, view, 0, np.random.default_rng(0))
    column, below = image[29:, 32].mean(axis=1), view.depth[29:, 32]
    assert below[0] > below[-1]
    assert np.all(np.diff(column) < 0)


def test_depths_are_those_of_the_camera() -> None:
    camera = Camera(100, 80.0, 2.0, 50.0, 40.0)
    canvas = Canvas(camera, 5)
    canvas.ground(0, (0, 0, 0), [(-100, 1), (100, 1), (100, 1000), (-100, 1000)])
    canvas.along(2, (0, 0, 0), 6.0, (1.0, 60.0), (0.0, 9.0))
    canvas.box(7, (0, 0, 0), -1.0, 1.0, (0.0, 1.0), 8.0)
    view = canvas.view()
    # On the ground, z = focal * height / (row - horizon).
    assert view.depth[80, 5] == pytest.approx(80 * 2 / (80.5 - 40))
    # On a wall at x, z = focal * x / (column - center).
    assert (view.labels[40, 80], view.depth[40, 80]) == (2, pytest.approx(80 * 6 / (80.5 - 50)))
    column, row = (round(value) for value in camera.project((0.0, 0.5, 8.0)))
    assert (view.labels[row, column], view.depth[row, column]) == (7, 8.0)
    assert (view.labels[2, 5], view.depth[2, 5], view.elevation[99, 0]) == (5, SKY_DEPTH, 0.0)


def test_the_majority_of_four_labels() -> None:
    squares = {(1, 1, 1, 1): 1, (1, 1, 1, 2): 1, (2, 1, 1, 1): 1, (0, 3, 3, 5): 3, (4, 0, 4, 2): 4, (0, 2, 1, 2): 2}
    squares |= {(1, 1, 2, 2): 255, (0, 1, 2, 3): 255, (255, 255, 0, 255): 255, (255, 0, 0, 1): 0}
    for labels, expected in squares.items():
        for order in ((0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)):
            block = np.array([labels[k] for k in order], np.uint8).reshape(2, 2)
            assert majority(block).tolist() == [[expected]], labels
    # Each square stays where it is.
    tiles = np.array([[1, 2], [3, 4]], np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    assert majority(tiles).tolist() == [[1, 2], [3, 4]]


def test_rendered_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_scenes("fog", SMALL, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(benchmark, "render_scene", None)
    again = load_scenes("fog", SMALL, tmp_path)
    assert data_digest([first]) == data_digest([again])
    monkeypatch.undo()
    assert data_digest([first]) == data_digest([render_scenes("fog", SMALL)])


def test_a_damaged_map_is_rendered_again(tmp_path: Path) -> None:
    whole = load_scenes("day", SMALL, tmp_path)
    digest = data_digest([whole])
    (file,) = tmp_path.glob("*labels*")
    file.write_bytes(file.read_bytes()[:-1])
    assert data_digest([load_scenes("day", SMALL, tmp_path)]) == digest


@pytest.mark.parametrize("other", [replace(SMALL, seed=1), replace(SMALL, images=7), replace(SMALL, image_size=34)])
def test_what_changes_the_images_changes_the_files(tmp_path: Path, other: ScenesConfig) -> None:
    load_scenes("rain", SMALL, tmp_path)
    load_scenes("rain", other, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_unknown_domain_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^`mini-scenes` has no domain `night`; choose one of `day`, `dusk`, `fog`, "
    ):
        render_scenes("night", SMALL)
