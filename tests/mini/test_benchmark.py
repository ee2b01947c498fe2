"""The benchmark's images and labels: deterministic, prefix-stable, and as the dials say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hamdg import mini
from hamdg.config.data import MiniConfig
from hamdg.errors import ConfigError
from hamdg.mini import CLASSES, DOMAINS, data_digest, render_domain
from hamdg.mini.benchmark import (
    FREQUENCY_ORDERS,
    SCENE_MAPS,
    class_counts,
    clean_labels,
    motif_of,
    noisy_labels,
    render_image,
)
from hamdg.mini.palette import SCENES

SMALL = MiniConfig(images_per_class=3, image_size=32)


def test_all_public_names_are_there() -> None:
    assert all(hasattr(mini, name) for name in mini.__all__)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_every_class_in_order(domain: str) -> None:
    arrays = render_domain(domain, SMALL)
    assert arrays.domain == domain
    assert arrays.images.shape == (21, 32, 32, 3)
    assert arrays.images.dtype == np.uint8
    assert arrays.labels.tolist() == [label for label in range(7) for _ in range(3)]
    assert arrays.labels.dtype == arrays.clean_labels.dtype == np.int64


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_image_depends_on_its_own_keys_only(domain: str) -> None:
    arrays = render_domain(domain, SMALL)
    # Rendered alone and last class first, each image comes out as it did in the row.
    for label in reversed(range(len(CLASSES))):
        np.testing.assert_array_equal(render_image(domain, label, 2, SMALL), arrays.images[3 * label + 2])
    assert len({image.tobytes() for image in arrays.images}) == len(arrays.images)


def test_another_process_renders_the_same_images() -> None:
    program = (
        "from hamdg.config.data import MiniConfig; from hamdg.mini import DOMAINS, data_digest, render_domain\n"
        "config = MiniConfig(images_per_class=3, image_size=32)\n"
        "print(data_digest([render_domain(name, config) for name in reversed(DOMAINS)][::-1]))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == data_digest([render_domain(name, SMALL) for name in DOMAINS])


@pytest.mark.parametrize("domain", DOMAINS)
def test_fewer_images_are_a_prefix_of_more(domain: str) -> None:
    few, many = render_domain(domain, SMALL), render_domain(domain, replace(SMALL, images_per_class=5))
    for label in range(len(CLASSES)):
        prefix = many.images[many.clean_labels == label][:3]
        np.testing.assert_array_equal(prefix, few.images[few.clean_labels == label])


@pytest.mark.parametrize("size", [32, 48, 64])
def test_the_size_changes_the_resolution_and_not_the_motif(size: int) -> None:
    config = replace(SMALL, image_size=size)
    motif, same = motif_of("photo", 4, 1, config), motif_of("photo", 4, 1, SMALL)
    assert render_image("photo", 4, 1, config).shape == (size, size, 3)
    for part, other in zip(motif.drawing, same.drawing, strict=True):
        np.testing.assert_array_equal(part.points, other.points)


@pytest.mark.parametrize(
    ("domain", "brightness", "contrast"),
    [("art_painting", 143.9, 57.4), ("cartoon", 129.7, 81.0), ("photo", 130.3, 57.9), ("sketch", 219.8, 52.3)],
)
def test_the_images_look_as_they_always_did(domain: str, brightness: float, contrast: float) -> None:
    # Fingerprints leave room for another Pillow's rasterizer, but not for another drawing or palette.
    images = render_domain(domain, MiniConfig(images_per_class=10)).images
    assert float(images.mean()) == pytest.approx(brightness, abs=1.5)
    assert float(images.std()) == pytest.approx(contrast, abs=1.5)


def test_the_seed_changes_the_images() -> None:
    other = render_image("cartoon", 0, 0, replace(SMALL, seed=1))
    assert not np.array_equal(other, render_image("cartoon", 0, 0, SMALL))


@pytest.mark.parametrize("share", [0.0, 0.15, 0.2, 0.95])
def test_exactly_the_asked_share_of_labels_is_wrong(share: float) -> None:
    config = MiniConfig(label_noise=share)
    wrong = noisy_labels("photo", config) != clean_labels("photo", config)
    assert int(wrong.sum()) == round(share * 700)


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    config = MiniConfig(images_per_class=2000, label_noise=0.5)
    labels, clean = noisy_labels("photo", config), clean_labels("photo", config)
    shifts = np.bincount((labels - clean) % 7, minlength=7)
    assert shifts[0] == 7000
    np.testing.assert_allclose(shifts[1:], 7000 / 6, rtol=0.1)


def test_label_noise_per_domain_leaves_the_others_and_all_images_alone() -> None:
    config = replace(SMALL, label_noise={"photo": 0.5})
    photo, sketch = render_domain("photo", config), render_domain("sketch", config)
    assert int((photo.labels != photo.clean_labels).sum()) == round(0.5 * 21)
    np.testing.assert_array_equal(sketch.labels, sketch.clean_labels)
    np.testing.assert_array_equal(photo.images, render_domain("photo", SMALL).images)


def test_label_noise_of_a_copy_is_its_own() -> None:
    config = replace(SMALL, label_noise={"photo_dark": 0.5}, copies=["photo_dark"])
    dark, photo = render_domain("photo_dark", config), render_domain("photo", config)
    assert int((dark.labels != dark.clean_labels).sum()) == round(0.5 * 21)
    np.testing.assert_array_equal(photo.labels, photo.clean_labels)


def test_no_two_domains_agree_on_the_scene_behind_a_class() -> None:
    for row in SCENE_MAPS.values():
        assert sorted(row) == list(range(len(SCENES)))
    for column in zip(*SCENE_MAPS.values(), strict=True):
        assert len(set(column)) == len(SCENE_MAPS)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_fully_spurious_background_follows_the_class(domain: str) -> None:
    config = replace(SMALL, spurious=1.0)
    for label in range(len(CLASSES)):
        scenes = {motif_of(domain, label, index, config).backdrop.scene for index in range(10)}
        assert scenes == {SCENE_MAPS[domain][label]}


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 1 / 7), (0.6, 0.6 + 0.4 / 7)])
def test_the_spurious_dial_is_the_probability_of_the_cue(probability: float, expected: float) -> None:
    config = replace(SMALL, spurious=probability)
    hits = [
        motif_of("photo", label, index, config).backdrop.scene == SCENE_MAPS["photo"][label]
        for label in range(len(CLASSES))
        for index in range(150)
    ]
    assert float(np.mean(hits)) == pytest.approx(expected, abs=0.045)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_cue_can_be_seen_in_every_domain(domain: str) -> None:
    plain, cued = replace(SMALL, spurious=0.0), replace(SMALL, spurious=1.0)
    index = next(i for i in range(50) if motif_of(domain, 0, i, plain).backdrop.scene != SCENE_MAPS[domain][0])
    before, after = render_image(domain, 0, index, plain), render_image(domain, 0, index, cued)
    assert np.abs(before.astype(int) - after.astype(int)).mean() > 2
    for part, other in zip(
        motif_of(domain, 0, index, plain).drawing, motif_of(domain, 0, index, cued).drawing, strict=True
    ):
        np.testing.assert_array_equal(part.points, other.points)


def test_class_frequencies_fall_geometrically_in_the_domains_own_order() -> None:
    counts = class_counts("cartoon", MiniConfig(images_per_class=64, imbalance=64 / 8))
    assert [counts[label] for label in FREQUENCY_ORDERS["cartoon"]] == [64, 45, 32, 23, 16, 11, 8]
    assert len(set(FREQUENCY_ORDERS.values())) == len(FREQUENCY_ORDERS) == len(SCENE_MAPS)
    assert all(sorted(order) == list(range(7)) for order in FREQUENCY_ORDERS.values())


def test_the_digest_sees_names_images_and_labels() -> None:
    arrays = render_domain("sketch", SMALL)
    digests = {
        data_digest([arrays]),
        data_digest([replace(arrays, domain="photo")]),
        data_digest([replace(arrays, images=arrays.images[::-1])]),
        data_digest([replace(arrays, labels=arrays.labels[::-1])]),
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MiniConfig(seed=-1), "`data.mini.seed` is `-1`, but a seed is 0 or larger; use for instance `0`."),
        (
            MiniConfig(images_per_class=1),
            "`data.mini.images_per_class` is `1`, but training and validation need at least `2` images per class; "
            "raise it.",
        ),
        (
            MiniConfig(image_size=224),
            "`data.mini.image_size` is `224`, but the images are made for `32` to `64` pixels; "
            "choose a side between them.",
        ),
        (
            MiniConfig(spurious=1.5),
            "`data.mini.spurious` is `1.5`, but it is a probability; choose one between `0` and `1`.",
        ),
        (
            MiniConfig(label_noise=1.0),
            "`data.mini.label_noise` is `1.0`, but it is the share of wrong labels; "
            "choose at least `0` and less than `1`.",
        ),
        (
            MiniConfig(label_noise={"photo": -0.1}),
            "`data.mini.label_noise.photo` is `-0.1`, but it is the share of wrong labels; "
            "choose at least `0` and less than `1`.",
        ),
        (
            MiniConfig(label_noise={"clipart": 0.1}),
            "`data.mini.label_noise` names the domain `clipart`, which `mini` does not have; "
            "its domains are `art_painting`, `cartoon`, `photo`, `sketch`.",
        ),
        (
            MiniConfig(imbalance=0.5),
            "`data.mini.imbalance` is `0.5`, but it is the largest over the smallest class frequency; "
            "choose `1` (balanced) or more.",
        ),
        (
            MiniConfig(images_per_class=10, imbalance=20),
            "`data.mini.imbalance` of `20` leaves the rarest class fewer than `2` of `10` images; "
            "lower it or raise `data.mini.images_per_class`.",
        ),
    ],
)
def test_wrong_settings_are_explained(config: MiniConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        render_domain("photo", config)


def test_an_unknown_domain_is_explained() -> None:
    message = "`mini` has no domain `clipart`; choose one of `art_painting`, `cartoon`, `photo`, `sketch`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        render_domain("clipart", SMALL)
