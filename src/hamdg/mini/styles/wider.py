"""Styles of the wider world, for mini-CLIP's pretraining; `data.mini.styles` makes domains of some."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from hamdg.mini.palette import RGB, Backdrop, apart, mix, saturated, scaled
from hamdg.mini.styles.painter import (
    Motif,
    Pixels,
    Style,
    add_props,
    clipped,
    flat,
    floats,
    horizon,
    paint,
    pixels,
    shrink,
    silhouette,
    soft_noise,
    stroke,
    two_bands,
)

WHITE: RGB = (252, 252, 250)


def _background(motif: Motif, rng: Generator, strength: float) -> Image.Image:
    level = horizon(rng)
    image = two_bands(motif, motif.backdrop.upper, motif.backdrop.lower, level)
    add_props(image, motif, rng, level, strength)
    return image


def _contours(image: Image.Image, motif: Motif, color: RGB | None, width: int, inside: RGB | None) -> None:
    """Draw contours only, in one color or in each part's own, covering what lies behind with `inside`."""
    pen, side = ImageDraw.Draw(image), image.width
    for part in motif.drawing:
        tone, points = color or motif.palette[part.role], flat(part.points, side)
        if part.width:
            stroke(pen, points, tone, max(1, width // 2), closed=False)
            continue
        if inside is not None:
            pen.polygon(points, fill=tone if part.role == "dark" and not part.outline else inside)
        stroke(pen, points, tone, width, closed=True)


def clip_art(motif: Motif, rng: Generator) -> Pixels:
    """Flat colors with thin darker contours."""
    image = _background(motif, rng, 0.4)
    colors = motif.palette
    paint(image, motif.drawing, lambda p: colors[p.role], lambda p: scaled(colors[p.role], 0.55), 2)
    return pixels(shrink(image))


def silhouette_style(motif: Motif, rng: Generator) -> Pixels:
    """One dark shape, or one in the subject's color, without inner detail."""
    pale = mix(motif.backdrop.upper, WHITE, rng.uniform(0.2, 0.8))
    ground = apart(Backdrop(pale, pale, 0, plain=True), motif.palette["body"], 120).upper
    image = Image.new("RGB", (motif.side, motif.side), ground)
    image.paste(motif.palette["body"], mask=silhouette(motif.drawing, motif.side))
    return pixels(shrink(image))


def line_art(motif: Motif, rng: Generator) -> Pixels:
    """Clean, thick contours in the subject's color on white."""
    image = Image.new("RGB", (motif.side, motif.side), WHITE)
    _contours(image, motif, scaled(motif.palette["body"], 0.8), round(rng.uniform(0.025, 0.04) * motif.side), WHITE)
    return pixels(shrink(image))


def watercolor(motif: Motif, rng: Generator) -> Pixels:
    """Pale, bleeding colors of uneven strength on white paper."""
    image = _background(motif, rng, 0.5)
    paint(image, motif.drawing, lambda p: motif.palette[p.role], None, 0)
    wet = floats(shrink(image.filter(ImageFilter.GaussianBlur(0.014 * motif.side))))
    thin = np.clip(0.62 + 0.22 * soft_noise(rng, motif.size, 7), 0.2, 0.95)[:, :, None]
    return clipped(252 - (252 - wet) * thin)


def blurry_snapshot(motif: Motif, rng: Generator) -> Pixels:
    """Out of focus, with uneven light."""
    image = _background(motif, rng, 0.6)
    paint(image, motif.drawing, lambda p: motif.palette[p.role], None, 0)
    soft = floats(shrink(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.014, 0.03) * motif.side))))
    return clipped(soft * (1 + 0.08 * soft_noise(rng, motif.size, 5))[:, :, None])


def pixel_art(motif: Motif, rng: Generator) -> Pixels:
    """Large square pixels."""
    image = _background(motif, rng, 0.5)
    dark = scaled(motif.palette["body"], 0.35)
    paint(image, motif.drawing, lambda p: motif.palette[p.role], lambda p: dark, 2)
    cells = motif.size // 2
    small = image.resize((cells, cells), Image.Resampling.BOX)
    return pixels(small.resize((motif.size, motif.size), Image.Resampling.NEAREST))


def chalk(motif: Motif, rng: Generator) -> Pixels:
    """Rough light lines on a dark board."""
    board: RGB = ((38, 62, 50), (44, 46, 50), (34, 44, 70))[int(rng.integers(3))]
    image = Image.new("RGB", (motif.side, motif.side), board)
    _contours(image, motif, mix(motif.palette["body"], (245, 245, 240), 0.55), round(0.022 * motif.side), board)
    drawn = floats(shrink(image))
    dust = rng.random((motif.size, motif.size, 1), dtype=np.float32) * 0.5 + 0.6
    base = np.array(board, dtype=np.float32)
    return clipped(base + (drawn - base) * dust)


def neon(motif: Motif, rng: Generator) -> Pixels:
    """Glowing tubes on black."""
    image = Image.new("RGB", (motif.side, motif.side), (10, 8, 18))
    tube = saturated(mix(motif.palette["body"], (255, 255, 255), 0.25), 1.8)
    _contours(image, motif, tube, round(0.026 * motif.side), (10, 8, 18))
    glow = floats(shrink(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.02, 0.04) * motif.side))))
    return clipped(floats(shrink(image)) + glow * 0.9)


def paper_cut_out(motif: Motif, rng: Generator) -> Pixels:
    """Sheets of colored paper, each with its shadow."""
    image = _background(motif, rng, 0.8)
    shift = rng.uniform(0.012, 0.022)
    for part in motif.drawing:
        moved = type(part)(part.points + shift, part.role, part.width, part.outline)
        shade = scaled(motif.palette[part.role], 0.45)
        if part.outline:
            paint(image, (moved,), lambda p, tone=shade: tone, None, 0)  # type: ignore[misc]
        paint(image, (part,), lambda p: motif.palette[p.role], None, 0)
    return pixels(shrink(image))


def pencil_hatching(motif: Motif, rng: Generator) -> Pixels:
    """The subject shaded with slanted colored strokes on paper."""
    side = motif.side
    paper = Image.new("RGB", (side, side), WHITE)
    hatch = Image.new("L", (side, side), 0)
    pen, step, slope = ImageDraw.Draw(hatch), 0.035 * side, rng.uniform(0.4, 1.6)
    for k in range(-40, 75):
        pen.line([k * step, 0, k * step - slope * side, side], fill=210, width=1)
    tinted = paper.copy()
    paint(tinted, motif.drawing, lambda p: motif.palette[p.role], None, 0)
    image = Image.composite(tinted, paper, hatch)
    pale = Image.blend(paper, tinted, 0.3)
    image = Image.composite(pale, image, hatch.point([150 - value // 2 for value in range(256)]))
    _contours(image, motif, scaled(motif.palette["body"], 0.6), 1, None)
    return pixels(shrink(image))


def mosaic(motif: Motif, rng: Generator) -> Pixels:
    """Square tiles of uneven tone with gray joints."""
    image = _background(motif, rng, 0.5)
    paint(image, motif.drawing, lambda p: motif.palette[p.role], lambda p: scaled(motif.palette[p.role], 0.6), 2)
    size, tile = motif.size, 3
    cells = -(-size // tile)
    tones = floats(image.resize((cells, cells), Image.Resampling.BOX))
    tones = tones + rng.standard_normal((cells, cells, 1), dtype=np.float32) * 10
    tiled = np.repeat(np.repeat(tones, tile, axis=0), tile, axis=1)[:size, :size]
    joint = (np.arange(size) % tile == 0)[:, None] | (np.arange(size) % tile == 0)
    return clipped(np.where(joint[:, :, None], tiled * 0.7 + 40, tiled).astype(np.float32))


def crayon(motif: Motif, rng: Generator) -> Pixels:
    """Waxy colors with gaps in which the paper shows, and loose contours."""
    image = Image.new("RGB", (motif.side, motif.side), WHITE)
    paint(
        image,
        motif.drawing,
        lambda p: mix(motif.palette[p.role], WHITE, 0.15),
        lambda p: scaled(motif.palette[p.role], 0.7),
        2,
    )
    wax = floats(shrink(image))
    gaps = rng.random((motif.size, motif.size, 1), dtype=np.float32) ** 3 * 0.7
    return clipped(wax + (252 - wax) * gaps)


# Each style with the names that captions give it.
WIDER: Mapping[str, tuple[Style, tuple[str, ...]]] = {
    "clip_art": (clip_art, ("clip art", "a flat illustration")),
    "silhouette": (silhouette_style, ("a silhouette", "a plain silhouette")),
    "line_art": (line_art, ("line art", "an outline drawing")),
    "watercolor": (watercolor, ("a watercolor", "a watercolor painting")),
    "blurry_snapshot": (blurry_snapshot, ("a blurry snapshot", "a blurry photo")),
    "pixel_art": (pixel_art, ("pixel art", "a video game sprite")),
    "chalk": (chalk, ("a chalk drawing", "chalk on a blackboard")),
    "neon": (neon, ("a neon sign", "neon light")),
    "paper_cut_out": (paper_cut_out, ("a paper cut-out", "a paper collage")),
    "pencil_hatching": (pencil_hatching, ("pencil hatching", "a colored pencil drawing")),
    "mosaic": (mosaic, ("a mosaic", "a tile mosaic")),
    "crayon": (crayon, ("a crayon drawing", "wax crayons")),
}
