"""What all styles share: an image to be made, and the canvas it is painted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from hamdg.mini.geometry import Drawing, Part, Points
from hamdg.mini.palette import RGB, Backdrop, Palette

SUPERSAMPLING = 2  # styles draw at this multiple of the side and reduce, which smooths the edges
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Fill = Callable[[Part], RGB]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be seen: a posed drawing, its colors, what stands behind it, and the image's side in pixels."""

    drawing: Drawing
    palette: Palette
    backdrop: Backdrop
    size: int

    @property
    def side(self) -> int:
        """Return the side of the supersampled canvas."""
        return self.size * SUPERSAMPLING


Style = Callable[[Picture, Generator], Pixels]


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
