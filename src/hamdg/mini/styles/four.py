"""The benchmark's four styles: photo, art painting, cartoon and sketch."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from hamdg.mini.geometry import Part, Points, bounds
from hamdg.mini.palette import RGB, jittered, mix, saturated, scaled
from hamdg.mini.styles.painter import (
    Floats,
    Motif,
    Pixels,
    add_props,
    clipped,
    flat,
    floats,
    horizon,
    paint,
    pixels,
    relief,
    shrink,
    silhouette,
    soft_noise,
    two_bands,
)

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
# How schools of painting bend the colors: brown and warm, pale and cool, vivid, nocturne, and two in which
# colors are those of the mood, not of the thing.
SCHOOLS: tuple[tuple[Matrix, tuple[float, float, float]], ...] = (
    (((0.80, 0.22, 0.08), (0.16, 0.68, 0.06), (0.08, 0.18, 0.40)), (14.0, 6.0, 2.0)),
    (((0.58, 0.14, 0.06), (0.06, 0.66, 0.12), (0.04, 0.14, 0.74)), (44.0, 52.0, 62.0)),
    (((1.24, -0.12, -0.04), (-0.06, 1.12, -0.04), (-0.10, 0.02, 1.16)), (-6.0, -4.0, 14.0)),
    (((0.42, 0.10, 0.04), (0.10, 0.50, 0.10), (0.16, 0.22, 0.58)), (6.0, 12.0, 44.0)),
    (((0.20, 0.16, 0.70), (0.30, 0.66, 0.04), (0.76, 0.12, 0.14)), (10.0, 4.0, 6.0)),
    (((0.30, 0.72, 0.02), (0.64, 0.10, 0.22), (0.10, 0.24, 0.70)), (16.0, 6.0, 8.0)),
)


def _scene(motif: Motif, rng: Generator, strength: float) -> tuple[Image.Image, float]:
    level = horizon(rng)
    upper, lower = jittered(motif.backdrop.upper, rng, 10), jittered(motif.backdrop.lower, rng, 10)
    image = two_bands(motif, upper, lower, level)
    add_props(image, motif, rng, level, strength)
    return image, level


def _lit(motif: Motif, image: Image.Image, rng: Generator, depth: float, contour: float) -> Floats:
    """Paint the subject and model it with light; return float pixels at the image's own size."""
    palette = motif.palette
    paint(image, motif.drawing, lambda part: palette[part.role], lambda part: scaled(palette[part.role], contour), 1)
    mask = shrink(silhouette(motif.drawing, motif.side))
    angle = rng.uniform(-0.75, -0.25) * math.pi
    light = relief(mask, 0.055 * motif.size, angle) * floats(mask) * np.float32(depth / 255)
    return floats(shrink(image)) * (1 + light)[:, :, None]


def _clutter(image: Image.Image, motif: Motif, rng: Generator) -> None:
    """Scatter things of no interest behind the subject, in colors near those of the scene."""
    pen, side = ImageDraw.Draw(image), motif.side
    for x, y, wide, high, tone, hue in rng.random((int(rng.integers(1, 6)), 6)).tolist():
        base = mix(motif.backdrop.upper, motif.backdrop.lower, hue)
        color = scaled(jittered(base, rng, 25), 0.7 + 0.6 * tone)
        w, h = (0.04 + 0.16 * wide) * side, (0.04 + 0.2 * high) * side
        box = [x * side - w, y * side - h, x * side + w, y * side + h]
        if hue < 0.5:
            pen.ellipse(box, fill=color)
        else:
            pen.rectangle(box, fill=color)


def _in_front(image: Image.Image, motif: Motif, rng: Generator) -> None:
    """Let blades of grass or the edge of something cover a little of the subject."""
    pen, side = ImageDraw.Draw(image), motif.side
    color = jittered(scaled(motif.backdrop.lower, rng.uniform(0.55, 1.0)), rng, 12)
    if rng.random() < 0.5:
        x = float(rng.choice([0.0, 0.86])) * side
        pen.rectangle([x, rng.uniform(0.0, 0.5) * side, x + 0.14 * side, side], fill=color)
        return
    for x, height, lean in rng.random((14, 3)).tolist():
        foot, tip = x * side, (x + 0.12 * (lean - 0.5)) * side
        pen.line([foot, side, tip, (0.97 - 0.14 * height) * side], fill=color, width=3)


def photo(motif: Motif, rng: Generator) -> Pixels:
    """Render like a snapshot: natural light, a soft shadow, a cluttered, unsharp background, a little noise."""
    image, _ = _scene(motif, rng, 0.5)
    _clutter(image, motif, rng)
    left, _, right, low = (value * motif.side for value in bounds(motif.drawing))
    shadow = [left + 0.06 * (right - left), low - 0.05 * motif.side, right, low + 0.045 * motif.side]
    ImageDraw.Draw(image).ellipse(shadow, fill=scaled(motif.backdrop.lower, 0.5))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.015, 0.04) * motif.side))
    shade = 1 + 0.05 * soft_noise(rng, motif.side, 10)[:, :, None]
    image = Image.fromarray(clipped(floats(image) * shade))
    lit = _lit(motif, image, rng, rng.uniform(0.7, 1.1), 0.82)
    if rng.random() < 0.35:
        front = Image.fromarray(clipped(lit)).resize((motif.side, motif.side), Image.Resampling.BILINEAR)
        _in_front(front, motif, rng)
        lit = floats(shrink(front))
    ramp = np.linspace(-1, 1, motif.size, dtype=np.float32) * np.float32(rng.uniform(-0.2, 0.2))
    exposure = np.float32(rng.uniform(0.72, 1.2)) + (ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None])
    warmth = np.array([1, 1, 1], dtype=np.float32) + np.float32(rng.uniform(-0.09, 0.09)) * np.array(
        [1, 0, -1], dtype=np.float32
    )
    grain = rng.standard_normal((motif.size, motif.size, 1), dtype=np.float32) * np.float32(rng.uniform(2.0, 7.0))
    taken = Image.fromarray(clipped(lit * exposure * warmth + grain))
    return pixels(taken.filter(ImageFilter.GaussianBlur(rng.uniform(0.25, 0.7) * motif.size / 48)))


def _strokes(
    pen: ImageDraw.ImageDraw, source: Floats, side: int, rng: Generator, count: int, length: float, swirl: Floats
) -> None:
    """Lay `count` brush strokes that take their color from `source` and their direction from `swirl`."""
    size = len(source)
    places = rng.random((count, 2), dtype=np.float32)
    cells = (places * size).astype(np.intp)
    tones = source[cells[:, 1], cells[:, 0]] + rng.standard_normal((count, 1), dtype=np.float32) * 13
    colors = clipped(tones).tolist()
    angles = swirl[cells[:, 1], cells[:, 0]] + rng.standard_normal(count, dtype=np.float32) * 0.35
    reach = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.float32(length / 2)
    ends = (np.concatenate([places - reach, places + reach], axis=1) * side).tolist()
    width = max(2, round(length * side * 0.45))
    for end, color in zip(ends, colors, strict=True):
        pen.line(end, fill=tuple(color), width=width)


def art_painting(motif: Motif, rng: Generator) -> Pixels:
    """Render like an oil painting: bent colors, visible brush strokes of 2.4 to 9 % of the side, canvas."""
    image, _ = _scene(motif, rng, 0.8)
    lit = _lit(motif, image, rng, 0.5, rng.uniform(0.35, 0.6))
    bend, lift = SCHOOLS[int(rng.integers(len(SCHOOLS)))]
    bent = lit @ np.array(bend, dtype=np.float32).T + np.array(lift, dtype=np.float32)
    size, side = motif.size, motif.side
    swirl = soft_noise(rng, size, 4) * 2.5 + np.float32(rng.uniform(0, math.pi))
    canvas = Image.fromarray(clipped(bent)).resize((side, side), Image.Resampling.BILINEAR)
    pen, fine = ImageDraw.Draw(canvas), rng.uniform(0.03, 0.046)
    _strokes(pen, bent, side, rng, 160, 0.09, swirl)
    _strokes(pen, bent, side, rng, 320, 0.065, swirl)
    _strokes(pen, bent, side, rng, 420, fine, swirl)
    _strokes(pen, bent, side, rng, 160, 0.024, swirl)
    painted = floats(shrink(canvas))
    weave = np.sin(np.arange(size, dtype=np.float32) * np.float32(2.1))
    grain = 1 + 0.012 * (weave[:, None] + weave) + 0.015 * rng.standard_normal((size, size), dtype=np.float32)
    return clipped((0.85 * painted + 0.15 * bent) * grain[:, :, None])


def cartoon(motif: Motif, rng: Generator) -> Pixels:
    """Render like a cartoon: flat saturated colors, thick black contours, a simple background."""
    level = horizon(rng)
    upper, lower = saturated(motif.backdrop.upper, 1.7), saturated(motif.backdrop.lower, 1.7)
    image = two_bands(motif, upper, lower, level)
    add_props(image, motif, rng, level, 0.6)
    strength, black = rng.uniform(1.4, 1.9), (8, 8, 10)
    colors = {role: saturated(color, strength) for role, color in motif.palette.items()}
    paint(
        image,
        motif.drawing,
        lambda part: colors[part.role],
        lambda part: black,
        rng.uniform(0.028, 0.042) * motif.side,
    )
    return pixels(shrink(image))


def _wobbly(points: Points, rng: Generator, amount: float) -> Points:
    """Return the points moved by noise that is smooth along the contour."""
    shift = rng.standard_normal(points.shape) * amount
    moved: Points = points + 0.5 * shift + 0.5 * np.roll(shift, 1, axis=0)
    return moved


def _pencil(pen: ImageDraw.ImageDraw, part: Part, rng: Generator, side: int, tone: RGB, width: int) -> None:
    """Draw a part's contour by hand: twice, shaky, and with gaps."""
    closed = not part.width
    for _ in range(2):
        points = flat(_wobbly(part.points, rng, 0.006), side)
        path = points + points[:2] if closed else points
        corners = len(path) // 2
        if corners < 6:
            pen.line(path, fill=tone, width=width)
            continue
        gap, length = int(rng.integers(corners)), max(1, corners // int(rng.integers(7, 14)))
        pen.line(path[: 2 * gap + 2], fill=tone, width=width)
        pen.line(path[2 * (gap + length) :], fill=tone, width=width)


def _hatched(pen: ImageDraw.ImageDraw, side: int, rng: Generator, scene: int, tone: RGB) -> None:
    """Hatch the paper faintly, in a direction and distance that belong to the scene."""
    angle, distance = scene * math.pi / 7, side * (0.07 + 0.012 * (scene % 3))
    dx, dy = math.cos(angle) * side, math.sin(angle) * side
    for k in range(-12, 13):
        shift = (k + rng.uniform(-0.15, 0.15)) * distance
        x, y = side / 2 - math.sin(angle) * shift, side / 2 + math.cos(angle) * shift
        pen.line([x - dx, y - dy, x + dx, y + dy], fill=tone, width=1)


def sketch(motif: Motif, rng: Generator) -> Pixels:
    """Render like a pencil sketch: thin, broken, shaky gray lines on nearly white paper."""
    side = motif.side
    paper = mix((252, 252, 250), motif.backdrop.upper, 0.12)
    image = Image.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(image)
    _hatched(pen, side, rng, motif.backdrop.scene, scaled(paper, 0.93))
    gray = int(rng.integers(15, 80))
    tone, width = (gray, gray, gray + 4), max(1, round(side / 48 * rng.uniform(0.7, 1.1)))
    inside = mix(paper, (255, 255, 255), 0.6)
    for part in motif.drawing:
        if part.width:
            pen.line(flat(part.points, side), fill=tone, width=1)
            continue
        small = part.role == "dark" and not part.outline
        pen.polygon(flat(part.points, side), fill=tone if small else inside)
        _pencil(pen, part, rng, side, tone, width)
    return pixels(shrink(image))
