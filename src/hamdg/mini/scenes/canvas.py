"""A street seen through a camera: surfaces are drawn from far to near, and each pixel remembers which one it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hamdg.mini.palette import RGB

Floats = NDArray[np.float32]
# A point of the world in meters: to the right, up from the ground, ahead.
Point = tuple[float, float, float]
# How the distance of a surface's pixels is found: it lies on the ground, runs along the street at some x, or is as far
# away everywhere.
Lies = Literal["ground", "along", "upright"]

IGNORED = 255
SKY_DEPTH = 1000.0
# Nothing is drawn that is nearer than this, in meters.
NEAR = 1.0


class Camera(NamedTuple):
    """What is seen from where.

    Args:
        side: Side of the square image in pixels.
        focal: Focal length in pixels.
        height: Height above the ground in meters.
        center: The column of the vanishing point.
        horizon: Its row.
    """

    side: int
    focal: float
    height: float
    center: float
    horizon: float

    def project(self, point: Point) -> tuple[float, float]:
        """Return column and row of a point of the world."""
        x, y, z = point
        scale = self.focal / max(z, NEAR)
        return self.center + x * scale, self.horizon + (self.height - y) * scale

    def size(self, meters: float, z: float) -> float:
        """Return how many pixels a length takes at a distance."""
        return meters * self.focal / max(z, NEAR)


@dataclass(frozen=True)
class View:
    """What the camera sees, before light and weather; all arrays `[side, side]`.

    Args:
        labels: The class of every pixel, uint8; 255 for none.
        colors: The colors of surfaces in plain light, `[side, side, 3]` between 0 and 1.
        depth: Distances in meters; `SKY_DEPTH` for the sky.
        glow: How much a pixel shines by itself, from 0 to 1.
        elevation: How high above the horizon a pixel is, from 0 at it (and below) to 1 at the top.
    """

    labels: NDArray[np.uint8]
    colors: Floats
    depth: Floats
    glow: Floats
    elevation: Floats


class Canvas:
    """Takes in surfaces, the far ones first.

    Args:
        camera: The camera.
        sky: The class of pixels that nothing is drawn on.
    """

    def __init__(self, camera: Camera, sky: int) -> None:
        self.camera = camera
        self._image = Image.new("I", (camera.side, camera.side), 0)
        self._pen = ImageDraw.Draw(self._image)
        self._labels = [sky]
        self._colors: list[RGB] = [(255, 255, 255)]
        self._kinds: list[Lies] = ["upright"]
        self._places = [SKY_DEPTH]
        self._glows = [0.0]

    def _ink(self, label: int, color: RGB, lies: Lies, place: float, glow: float) -> int:
        self._labels.append(label)
        self._colors.append(color)
        self._kinds.append(lies)
        self._places.append(place)
        self._glows.append(glow)
        return len(self._labels) - 1

    def ground(self, label: int, color: RGB, corners: Sequence[tuple[float, float]]) -> None:
        """Draw a part of the ground, its corners as (to the right, ahead)."""
        points = [self.camera.project((x, 0.0, z)) for x, z in corners]
        self._pen.polygon(points, fill=self._ink(label, color, "ground", 0.0, 0.0))

    def along(self, label: int, color: RGB, x: float, span: tuple[float, float], rise: tuple[float, float]) -> None:
        """Draw a wall that runs along the street: at some x, over a span ahead, from one height to another."""
        (start, end), (low, high) = span, rise
        if end <= NEAR:
            return
        start = max(start, NEAR)
        points = [self.camera.project((x, y, z)) for y, z in ((low, start), (high, start), (high, end), (low, end))]
        self._pen.polygon(points, fill=self._ink(label, color, "along", abs(x), 0.0))

    def upright(self, label: int, color: RGB, points: Sequence[tuple[float, float]], z: float, glow: float = 0) -> None:
        """Draw a flat thing that faces the camera at a distance, its corners as (to the right, up)."""
        self.facet(label, color, [(x, y, z) for x, y in points], z, glow)

    def facet(self, label: int, color: RGB, corners: Sequence[Point], z: float, glow: float = 0) -> None:
        """Draw any flat thing, as if all of it were at one distance."""
        points = [self.camera.project(corner) for corner in corners]
        self._pen.polygon(points, fill=self._ink(label, color, "upright", z, glow))

    def box(self, label: int, color: RGB, left: float, right: float, rise: tuple[float, float], z: float) -> None:
        """Draw a rectangle that faces the camera."""
        low, high = rise
        self.upright(label, color, [(left, low), (right, low), (right, high), (left, high)], z)

    def ellipse(
        self, label: int, color: RGB, middle: tuple[float, float], radii: tuple[float, float], z: float, glow: float = 0
    ) -> None:
        """Draw an ellipse that faces the camera, its middle as (to the right, up)."""
        u, v = self.camera.project((*middle, z))
        across, up = self.camera.size(radii[0], z), self.camera.size(radii[1], z)
        ink = self._ink(label, color, "upright", z, glow)
        self._pen.ellipse((u - across, v - up, u + across, v + up), fill=ink)

    def rod(self, label: int, color: RGB, x: float, rise: tuple[float, float], z: float, width: float) -> None:
        """Draw something thin that stands upright; it is never thinner than two pixels."""
        (u, low), (_, high) = (self.camera.project((x, y, z)) for y in rise)
        half = max(self.camera.size(width, z), 2.0) / 2
        ink = self._ink(label, color, "upright", z, 0.0)
        self._pen.rectangle((u - half, high, u + half - 1, low), fill=ink)

    def overlay(self, label: int, color: RGB, box: tuple[float, float, float, float]) -> None:
        """Draw an ellipse right before the camera, in pixels."""
        self._pen.ellipse(box, fill=self._ink(label, color, "upright", NEAR, 0.0))

    def view(self) -> View:
        """Return what is seen."""
        camera, ids = self.camera, np.asarray(self._image, dtype=np.int32)
        middles = np.arange(camera.side, dtype=np.float32) + 0.5
        below = np.maximum(middles - camera.horizon, 0.5)
        beside = np.maximum(np.abs(middles - camera.center), 0.5)
        places = np.array(self._places, np.float32)[ids]
        along, ground = (np.array([kind == one for kind in self._kinds])[ids] for one in ("along", "ground"))
        depth = np.where(along, places * (camera.focal / beside), places)
        depth = np.where(ground, (camera.focal * camera.height / below)[:, None], depth)
        elevation = np.clip((camera.horizon - middles) / camera.horizon, 0, 1).astype(np.float32)
        return View(
            np.array(self._labels, np.uint8)[ids],
            np.array(self._colors, np.float32)[ids] / np.float32(255),
            np.minimum(depth, SKY_DEPTH).astype(np.float32),
            np.array(self._glows, np.float32)[ids],
            np.repeat(elevation[:, None], camera.side, axis=1),
        )
