"""What all styles share: an image to be made, the canvas it is painted on, sky and ground with the scenes' props."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from hamdg.mini.geometry import Drawing, Part, Points
from hamdg.mini.palette import RGB, Backdrop, Palette, mix, scaled

SUPERSAMPLING = 2  # styles draw at this multiple of the side and reduce, which smooths the edges
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Fill = Callable[[Part], RGB]


@dataclass(frozen=True, slots=True)
class Motif:
    """What is to be seen: a posed drawing, its colors, what stands behind it, and the image's side in pixels."""

    drawing: Drawing
    palette: Palette
    backdrop: Backdrop
    size: int

    @property
    def side(self) -> int:
        """Return the side of the supersampled canvas."""
        return self.size * SUPERSAMPLING


Style = Callable[[Motif, Generator], Pixels]


def flat(points: Points, side: int) -> list[float]:
    """Return points of the unit square as the flat list of pixel coordinates that PIL draws fastest."""
    coordinates: list[float] = (points * side).ravel().tolist()
    return coordinates


def stroke(pen: ImageDraw.ImageDraw, points: list[float], color: RGB, width: int, closed: bool) -> None:
    """Draw a line along the points, with round joints."""
    path = points + points[:4] if closed else points
    pen.line(path, fill=color, width=width, joint="curve" if width > 2 else None)


def paint(image: Image.Image, drawing: Drawing, fill: Fill, outline: Fill | None, width: float) -> None:
    """Paint a drawing onto an image, part by part.

    Args:
        image: The RGB canvas, changed in place.
        drawing: Shapes in the unit square, back to front.
        fill: Color of each part.
        outline: Color of each part's contour; none if `None`.
        width: Width of the contours in pixels of the canvas.
    """
    pen, side = ImageDraw.Draw(image), image.width
    for part in drawing:
        points = flat(part.points, side)
        if part.width:
            stroke(pen, points, fill(part), max(1, round(part.width * side)), closed=False)
            continue
        pen.polygon(points, fill=fill(part))
        if outline is not None and part.outline:
            stroke(pen, points, outline(part), max(1, round(width)), closed=True)


def silhouette(drawing: Drawing, side: int) -> Image.Image:
    """Return the mask (mode L) of everything a drawing covers."""
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    for part in drawing:
        if not part.width:
            pen.polygon(flat(part.points, side), fill=255)
    return mask


def shrink(image: Image.Image) -> Image.Image:
    """Return the supersampled canvas at the image's own size."""
    return image.reduce(SUPERSAMPLING)


def pixels(image: Image.Image) -> Pixels:
    """Return an image's pixels."""
    return np.asarray(image, dtype=np.uint8)


def floats(image: Image.Image) -> Floats:
    """Return an image's pixels as float32."""
    return np.asarray(image, dtype=np.float32)


def clipped(values: Floats) -> Pixels:
    """Return float values as pixels."""
    rounded: Pixels = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return rounded


def soft_noise(rng: Generator, side: int, cells: int) -> Floats:
    """Return smooth noise of mean 0 and standard deviation near 1/2, float `[side, side]`."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return floats(coarse.resize((side, side), Image.Resampling.BICUBIC))


def relief(mask: Image.Image, radius: float, angle: float) -> Floats:
    """Return how much each point of a rounded body faces the light from `angle`, float `[side, side]`."""
    height = floats(mask.filter(ImageFilter.GaussianBlur(radius))) * np.float32(radius / 255)
    slope = np.zeros_like(height), np.zeros_like(height)
    slope[0][:, 1:-1] = height[:, 2:] - height[:, :-2]
    slope[1][1:-1] = height[2:] - height[:-2]
    facing = -(slope[0] * np.float32(np.cos(angle)) + slope[1] * np.float32(np.sin(angle)))
    return facing.astype(np.float32, copy=False)


def horizon(rng: Generator) -> float:
    """Return where the ground begins, as a share of the image's height."""
    return float(rng.uniform(0.55, 0.78))


def two_bands(motif: Motif, upper: RGB, lower: RGB, level: float) -> Image.Image:
    """Return a canvas with the upper color above the horizon and the lower color below."""
    side = motif.side
    image = Image.new("RGB", (side, side), upper)
    if not motif.backdrop.plain:
        ImageDraw.Draw(image).rectangle([0, level * side, side, side], fill=lower)
    return image


def add_props(image: Image.Image, motif: Motif, rng: Generator, level: float, strength: float) -> None:
    """Draw what belongs to the scene: clouds, waves, firs, a sun, stars, an image on the wall, houses far away.

    Args:
        image: The canvas, changed in place.
        motif: Its backdrop names the scene.
        rng: Source of places and sizes.
        level: The horizon.
        strength: How strongly the props differ from what is behind them, 0 to 1.
    """
    if motif.backdrop.plain:
        return
    pen, side, scene = ImageDraw.Draw(image), image.width, motif.backdrop.scene
    upper, lower = motif.backdrop.upper, motif.backdrop.lower
    places = rng.random((4, 3))
    ground = level * side
    for x, y, s in (places * side).tolist():
        size = 0.08 * side + 0.12 * s
        if scene == 0:
            cloud = mix(upper, (255, 255, 255), strength)
            pen.ellipse([x - 1.6 * size, y * 0.4 - size * 0.4, x + 1.6 * size, y * 0.4 + size * 0.5], fill=cloud)
        elif scene == 1:
            wave = ground * (0.8 + 0.18 * y / side)
            pen.line([x - size, wave, x + size, wave], fill=mix(upper, (40, 120, 150), strength), width=2)
        elif scene == 2:
            tree = mix(lower, (50, 90, 80), strength)
            pen.polygon([x - size * 0.7, ground, x, ground - 2.2 * size, x + size * 0.7, ground], fill=tree)
        elif scene == 4:
            pen.ellipse([x, y * 0.5, x + 2.5, y * 0.5 + 2.5], fill=mix(upper, (255, 255, 230), strength))
        elif scene == 6:
            block = scaled(upper, 1 - 0.35 * strength - 0.001 * s)
            pen.rectangle([x - size, ground - 2.5 * size, x + size, ground], fill=block)
    x, y = places[0, :2] * side
    if scene == 3:
        radius = side * 0.11
        center = 0.2 * side + 0.6 * x, min(0.15 * side + 0.4 * y, ground - radius)
        box = [center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius]
        pen.ellipse(box, fill=mix(upper, (255, 240, 170), strength))
    elif scene == 5:
        frame = [x * 0.7, y * 0.2, x * 0.7 + 0.26 * side, y * 0.2 + 0.2 * side]
        pen.rectangle(frame, fill=mix(upper, (120, 140, 170), strength), outline=scaled(upper, 1 - 0.5 * strength))
