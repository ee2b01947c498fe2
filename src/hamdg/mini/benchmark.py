"""The embedded benchmark's images and labels: pure functions of the recipe."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from hamdg.config.data import FURTHER_STYLES, LIGHTS, MiniConfig, imbalance_problem, light_of, noise_problem
from hamdg.errors import ConfigError
from hamdg.mini.arrays import DomainArrays
from hamdg.mini.geometry import pose
from hamdg.mini.lights import in_light
from hamdg.mini.nouns.seven import SEVEN
from hamdg.mini.palette import SCENES, apart, natural
from hamdg.mini.styles import four
from hamdg.mini.styles.painter import Motif, Pixels, Style
from hamdg.mini.styles.wider import WIDER

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
STYLES: Mapping[str, Style] = {
    "art_painting": four.art_painting,
    "cartoon": four.cartoon,
    "photo": four.photo,
    "sketch": four.sketch,
}
# Further domains that a recipe can ask for: other styles, and the same images in another light.
FURTHER: Mapping[str, Style] = {name: WIDER[name][0] for name in FURTHER_STYLES}
_DRAWN: Mapping[str, Style] = {**STYLES, **FURTHER}
COPIES = tuple(f"{domain}_{light}" for domain in DOMAINS for light in LIGHTS)
# Share of the side that the subject takes: photographers do not always come close.
EXTENTS: Mapping[str, tuple[float, float]] = {
    "art_painting": (0.62, 0.93),
    "cartoon": (0.72, 0.93),
    "photo": (0.55, 0.93),
    "sketch": (0.66, 0.93),
    **dict.fromkeys(FURTHER_STYLES, (0.62, 0.93)),
}
SIZES = (32, 64)  # smallest and largest side in pixels
# Row d, column c: the scene behind class c in domain d. Any two rows differ in every column, so a cue that
# one domain teaches is wrong in each of the others.
SCENE_MAPS: Mapping[str, tuple[int, ...]] = {
    "art_painting": (2, 5, 0, 3, 6, 1, 4),
    "cartoon": (3, 6, 1, 4, 0, 2, 5),
    "photo": (5, 1, 3, 6, 2, 4, 0),
    "sketch": (6, 2, 4, 0, 3, 5, 1),
    "watercolor": (0, 4, 5, 2, 1, 3, 6),
    "pixel_art": (1, 0, 2, 5, 4, 6, 3),
    "chalk": (4, 3, 6, 1, 5, 0, 2),
}
# Classes from the most to the least frequent, for the `imbalance` dial.
FREQUENCY_ORDERS: Mapping[str, tuple[int, ...]] = {
    "art_painting": (0, 1, 2, 3, 4, 5, 6),
    "cartoon": (3, 5, 0, 6, 2, 4, 1),
    "photo": (6, 4, 5, 1, 0, 2, 3),
    "sketch": (2, 3, 6, 5, 1, 0, 4),
    "watercolor": (1, 2, 4, 0, 3, 6, 5),
    "pixel_art": (4, 0, 3, 2, 5, 1, 6),
    "chalk": (5, 6, 1, 4, 3, 2, 0),
}
# The position of a domain decides its random numbers.
_NUMBERS: Mapping[str, int] = {name: number for number, name in enumerate(_DRAWN)}
_NOISE = 1_000_003  # keeps the noise's stream apart from those of the images, whose second key is a domain's number


def check(config: MiniConfig) -> None:
    """Raise ConfigError with a sentence if a value of the benchmark's settings is wrong."""
    if config.seed < 0:
        raise ConfigError(f"`data.mini.seed` is `{config.seed}`, but a seed is 0 or larger; use for instance `0`.")
    if config.images_per_class < 2:
        raise ConfigError(
            f"`data.mini.images_per_class` is `{config.images_per_class}`, but training and validation "
            "need at least `2` images per class; raise it."
        )
    if not SIZES[0] <= config.image_size <= SIZES[1]:
        raise ConfigError(
            f"`data.mini.image_size` is `{config.image_size}`, but the images are made for "
            f"`{SIZES[0]}` to `{SIZES[1]}` pixels; choose a side between them."
        )
    if not 0 <= config.spurious <= 1:
        raise ConfigError(
            f"`data.mini.spurious` is `{config.spurious}`, but it is a probability; choose one between `0` and `1`."
        )
    if problem := noise_problem(config, DOMAINS) or imbalance_problem(config):
        raise ConfigError(f"{problem}.")


def class_counts(domain: str, config: MiniConfig) -> tuple[int, ...]:
    """Return how many images each class has in a domain."""
    counts = [0] * len(CLASSES)
    for rank, label in enumerate(FREQUENCY_ORDERS[light_of(domain)[0]]):
        counts[label] = round(config.images_per_class * config.imbalance ** (-rank / (len(CLASSES) - 1)))
    return tuple(counts)


def _generator(*keys: int) -> Generator:
    return Generator(Philox(SeedSequence(keys)))


def motif_of(domain: str, label: int, index: int, config: MiniConfig) -> Motif:
    """Return what the image with this index shows; a pure function of seed, domain, class and index."""
    rng = _generator(config.seed, _NUMBERS[domain], label, index, 0)
    # Both are always drawn, so that the dial changes an image's background and nothing else.
    follows, scene = rng.random() < config.spurious, int(rng.integers(len(SCENES)))
    noun = SEVEN[label]
    palette = natural(noun.palettes, rng)
    drawing = pose(noun.draw(rng), rng, noun.tilt, noun.flip, EXTENTS[domain])
    backdrop = SCENES[SCENE_MAPS[domain][label] if follows else scene]
    return Motif(drawing, palette, apart(backdrop, palette["body"]), config.image_size)


def render_image(domain: str, label: int, index: int, config: MiniConfig) -> Pixels:
    """Return one image, uint8 `[size, size, 3]`; a pure function of seed, domain, class and index."""
    rng = _generator(config.seed, _NUMBERS[domain], label, index, 1)
    return _DRAWN[domain](motif_of(domain, label, index, config), rng)


def known_domain(domain: str) -> None:
    """Raise ConfigError if `mini` has no such domain."""
    if domain not in (*_DRAWN, *COPIES):
        names = ", ".join(f"`{name}`" for name in DOMAINS)
        raise ConfigError(f"`mini` has no domain `{domain}`; choose one of {names}.")


def render_images(domain: str, config: MiniConfig) -> Pixels:
    """Return all images of a domain, ordered by class and then by index."""
    counts = class_counts(domain, config)
    images = np.empty((sum(counts), config.image_size, config.image_size, 3), dtype=np.uint8)
    wanted = [(label, index) for label, count in enumerate(counts) for index in range(count)]
    for position, (label, index) in enumerate(wanted):
        images[position] = render_image(domain, label, index, config)
    return images


def clean_labels(domain: str, config: MiniConfig) -> NDArray[np.int64]:
    """Return the true class of each image of a domain."""
    return np.repeat(np.arange(len(CLASSES), dtype=np.int64), class_counts(domain, config))


def noisy_labels(domain: str, config: MiniConfig) -> NDArray[np.int64]:
    """Return the labels with the asked share of them replaced by another class, drawn uniformly."""
    noise = config.label_noise
    share = noise.get(domain, 0.0) if isinstance(noise, Mapping) else noise
    labels = clean_labels(domain, config)
    rng = _generator(config.seed, _NOISE, _NUMBERS[light_of(domain)[0]])
    order, shift = rng.permutation(len(labels)), rng.integers(1, len(CLASSES), len(labels))
    wrong = order[: round(share * len(labels))]
    labels[wrong] = (labels[wrong] + shift[wrong]) % len(CLASSES)
    return labels


def with_labels(domain: str, images: Pixels, config: MiniConfig) -> DomainArrays:
    """Return a domain's images together with their labels."""
    return DomainArrays(domain, images, noisy_labels(domain, config), clean_labels(domain, config))


def render_domain(domain: str, config: MiniConfig) -> DomainArrays:
    """Return one domain of the benchmark, rendered.

    Args:
        domain: One of `DOMAINS`, `FURTHER` or `COPIES`.
        config: Seed, size and the conflict dials.

    Raises:
        ConfigError: If the domain or a setting is wrong.
    """
    known_domain(domain)
    check(config)
    base, light = light_of(domain)
    return with_labels(domain, in_light(light, render_images(base, config)), config)
