"""The images and label maps of `mini-scenes`: pure functions of the recipe, rendered once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from hamdg.config.data import ScenesConfig
from hamdg.errors import ConfigError
from hamdg.mini.arrays import DomainArrays
from hamdg.mini.cache import array_file, kept
from hamdg.mini.scenes.canvas import IGNORED
from hamdg.mini.scenes.layout import CLASSES, ROAD
from hamdg.mini.scenes.looks import LOOKS, seen_in
from hamdg.mini.scenes.street import draw_street

DOMAINS = tuple(LOOKS)
RENDERER_VERSION = 1  # raise it with every change to what the images or maps look like
# Everything is drawn this many times larger than it is kept.
ZOOM = 2

Pixels = NDArray[np.uint8]


def render_scene(domain: str, index: int, config: ScenesConfig) -> tuple[Pixels, Pixels]:
    """Return an image `[side, side, 3]` and its label map `[side, side]`, both uint8.

    They are a pure function of seed, domain and index. A pixel that two classes share equally, what has no class, and
    the hood of the car that carries the camera are 255.

    Args:
        domain: One of `DOMAINS`.
        index: Which image.
        config: The benchmark's settings.
    """
    number, side = DOMAINS.index(domain), config.image_size
    view = draw_street(ZOOM * side, _generator(config.seed, number, index, 0))
    image = seen_in(LOOKS[domain], view, ROAD, _generator(config.seed, number, index, 1))
    small = image.reshape(side, ZOOM, side, ZOOM, 3).mean(axis=(1, 3))
    return np.rint(255 * small).astype(np.uint8), majority(view.labels)


def majority(labels: Pixels) -> Pixels:
    """Return the most frequent label of every square of 2 x 2; 255 where two are as frequent.

    Args:
        labels: Labels `[2h, 2w]`.
    """
    height, width = (side // ZOOM for side in labels.shape)
    parts = labels.reshape(height, ZOOM, width, ZOOM).transpose(0, 2, 1, 3).reshape(height, width, ZOOM * ZOOM)
    first, second, third, fourth = np.moveaxis(np.sort(parts, axis=2), 2, 0)
    # Sorted, equal labels are neighbors; one that is there more than once is in the second or the third place.
    most = np.where((first == second) | (second == third), second, third)
    pairs = (first == second) & (second != third) & (third == fourth)
    distinct = (first != second) & (second != third) & (third != fourth)
    return np.where(pairs | distinct, IGNORED, most).astype(np.uint8)


def render_scenes(domain: str, config: ScenesConfig) -> DomainArrays:
    """Return one domain, rendered.

    Raises:
        ConfigError: If there is no such domain.
    """
    images, labels = _rendered(domain, config)
    return DomainArrays(domain, images, labels, labels)


def load_scenes(domain: str, config: ScenesConfig, cache: Path) -> DomainArrays:
    """Return one domain, its images and label maps memory-mapped from the cache; what is missing is rendered.

    Args:
        domain: One of `DOMAINS`.
        config: The benchmark's settings.
        cache: Folder of the cached files, created if need be.

    Raises:
        ConfigError: If there is no such domain.
        StorageError: If the cache cannot be written.
    """
    _known(domain)
    facts = {"renderer": RENDERER_VERSION, "seed": config.seed, "images": config.images, "side": config.image_size}
    shape = (config.images, config.image_size, config.image_size)
    shapes = {"images": (*shape, 3), "labels": shape}
    files = {array_file(f"mini-scenes-{domain}-{part}", facts, cache): shape for part, shape in shapes.items()}
    images, labels = kept(files, lambda: _rendered(domain, config))
    return DomainArrays(domain, images, labels, labels)


def _rendered(domain: str, config: ScenesConfig) -> tuple[Pixels, Pixels]:
    _known(domain)
    side = config.image_size
    images = np.empty((config.images, side, side, 3), np.uint8)
    labels = np.empty((config.images, side, side), np.uint8)
    for index in range(config.images):
        images[index], labels[index] = render_scene(domain, index, config)
    return images, labels


def _known(domain: str) -> None:
    if domain not in DOMAINS:
        names = ", ".join(f"`{name}`" for name in DOMAINS)
        raise ConfigError(f"`mini-scenes` has no domain `{domain}`; choose one of {names}.")


def _generator(*keys: int) -> Generator:
    return Generator(Philox(SeedSequence(keys)))


__all__ = ["CLASSES", "DOMAINS", "load_scenes", "majority", "render_scene", "render_scenes"]
