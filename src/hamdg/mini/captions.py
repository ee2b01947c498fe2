"""Captioned renders of a wider world: what mini-CLIP is pretrained on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from hamdg.errors import ConfigError
from hamdg.mini.benchmark import STYLES
from hamdg.mini.geometry import pose
from hamdg.mini.nouns import NOUNS
from hamdg.mini.palette import COLORS, SCENES, Backdrop, apart, jittered, named, natural
from hamdg.mini.styles.painter import Motif, Pixels, Style
from hamdg.mini.styles.wider import WIDER

BENCHMARK_NAMES: Mapping[str, tuple[str, ...]] = {
    "art_painting": ("an oil painting", "a painting"),
    "cartoon": ("a cartoon", "a comic drawing"),
    "photo": ("a photo", "a photograph"),
    "sketch": ("a sketch", "a pencil sketch"),
}
# Styles that show the subject's color but no background.
_NO_BACKGROUND = frozenset({"silhouette", "line_art", "chalk", "neon", "pencil_hatching", "crayon", "sketch"})
_NO_COLOR = frozenset({"sketch"})
_STREAM = 2_000_003  # keeps these streams apart from the benchmark's
_CHUNK = 500

Shares = float | Mapping[str, float]


def _generator(*keys: int) -> Generator:
    return Generator(Philox(SeedSequence(keys)))


def domain_shares(benchmark_share: Shares) -> dict[str, float]:
    """Return the probability of each of the benchmark's styles.

    Args:
        benchmark_share: Their sum, divided equally, or one probability per domain.
    """
    if isinstance(benchmark_share, Mapping):
        shares = {domain: float(benchmark_share.get(domain, 0.0)) for domain in STYLES}
        unknown = sorted(set(benchmark_share) - set(STYLES))
        if unknown:
            raise ConfigError(
                f"`benchmark_share` names the domain `{unknown[0]}`, which `mini` does not have; "
                f"its domains are {', '.join(f'`{name}`' for name in STYLES)}."
            )
    else:
        shares = dict.fromkeys(STYLES, benchmark_share / len(STYLES))
    if min(shares.values()) < 0 or sum(shares.values()) > 1:
        raise ConfigError(
            f"`benchmark_share` is `{benchmark_share}`, but shares lie between `0` and `1` and so does their sum."
        )
    return shares


def _choose_style(rng: Generator, shares: Mapping[str, float]) -> tuple[str, Style, tuple[str, ...]]:
    place = rng.random()
    other = list(WIDER)[int(rng.integers(len(WIDER)))]
    for domain, share in shares.items():
        if place < share:
            return domain, STYLES[domain], BENCHMARK_NAMES[domain]
        place -= share
    return other, *WIDER[other]


def _backdrop(rng: Generator) -> tuple[Backdrop, str]:
    """Return a scene, or a plain background together with the name of its color."""
    if rng.random() < 0.5:
        return SCENES[int(rng.integers(len(SCENES)))], ""
    name = list(COLORS)[int(rng.integers(len(COLORS)))]
    color = jittered(COLORS[name], rng, 12)
    return Backdrop(color, color, int(rng.integers(len(SCENES))), plain=True), name


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _caption(rng: Generator, noun: str, color: str, ground: str, style: tuple[str, ...]) -> str:
    """Return a caption that names the subject and, now and then, its color, the style and the background."""
    named_style = style[int(rng.integers(len(style)))]
    subject = _article(f"{color} {noun}" if color and rng.random() < 0.6 else noun)
    behind = f" on {_article(ground)} background" if ground and rng.random() < 0.35 else ""
    end = "." if rng.random() < 0.5 else ""
    kind = rng.random()
    if kind < 0.35:
        # Plain templates belong to every style: prompts of this form then mean the subject, not the style.
        plain = ("a photo of {}", "an image of {}", "an image of {}", "a drawing of {}")
        return plain[int(rng.integers(len(plain)))].format(_article(noun)) + end
    if kind < 0.75:
        return f"{named_style} of {subject}{behind}{end}"
    if kind < 0.9:
        return f"{subject}{behind}{end}"
    return f"{subject}, {named_style.removeprefix('an ').removeprefix('a ')}"


def captioned(index: int, seed: int, size: int, shares: Mapping[str, float]) -> tuple[Pixels, str]:
    """Return the render with this index and its caption; a pure function of the arguments."""
    rng = _generator(seed, _STREAM, index)
    noun = NOUNS[int(rng.integers(len(NOUNS)))]
    style_name, style, spoken = _choose_style(rng, shares)
    color = list(COLORS)[int(rng.integers(len(COLORS)))] if rng.random() < 0.55 else ""
    palette = named(color, rng) if color else natural(noun.palettes, rng)
    backdrop, ground = _backdrop(rng)
    # A background moved away from the subject's color no longer has the color its caption would claim.
    distinct = apart(backdrop, palette["body"])
    drawing = pose(noun.draw(rng), rng, noun.tilt * 1.5, noun.flip, share=(0.62, 0.93))
    ground = "" if style_name in _NO_BACKGROUND or distinct != backdrop else ground
    caption = _caption(rng, noun.name, "" if style_name in _NO_COLOR else color, ground, spoken)
    return style(Motif(drawing, palette, distinct, size), rng), caption


def _chunk(start: int, stop: int, seed: int, size: int, shares: Mapping[str, float]) -> tuple[Pixels, list[str]]:
    pairs = [captioned(index, seed, size, shares) for index in range(start, stop)]
    return np.stack([image for image, _ in pairs]), [caption for _, caption in pairs]


def caption_renders(
    count: int, seed: int, size: int = 48, benchmark_share: Shares = 0.05, workers: int = 2
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return captioned images of many subjects in many styles.

    Args:
        count: How many.
        seed: Seed of the images and captions.
        size: Side in pixels.
        benchmark_share: Probability of the benchmark's own four styles: their sum, or one for each domain.
        workers: Processes to render with; the result does not depend on it.

    Returns:
        Images, uint8 `[count, size, size, 3]`, and one caption each.
    """
    shares = domain_shares(benchmark_share)
    starts = range(0, count, _CHUNK)
    jobs = [(start, min(start + _CHUNK, count), seed, size, shares) for start in starts]
    if workers < 2 or len(jobs) < 2:
        chunks = [_chunk(*job) for job in jobs]
    else:
        # Fresh interpreters: forking a process that already runs torch's threads can deadlock.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            chunks = list(pool.map(_chunk, *zip(*jobs, strict=True)))
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    for (start, stop, *_), (rendered, _) in zip(jobs, chunks, strict=True):
        images[start:stop] = rendered
    return images, [caption for _, captions in chunks for caption in captions]
