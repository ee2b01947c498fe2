"""Shapes in the plane, and drawings made of them; the y axis points down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float64]
Role = Literal["body", "far", "second", "dark", "light", "accent"]


@dataclass(frozen=True, slots=True)
class Part:
    """One shape of a drawing.

    Args:
        points: Corners or vertices, float `[n, 2]`.
        role: Which color of the subject's palette fills it.
        width: 0 for a filled polygon; otherwise the width of an open line through the points.
        outline: Whether styles with contours draw this shape's contour.
    """

    points: Points
    role: Role
    width: float = 0.0
    outline: bool = True


Drawing = tuple[Part, ...]


def polygon(points: Sequence[tuple[float, float]], role: Role, outline: bool = True) -> Part:
    """Return a filled polygon with straight sides."""
    return Part(np.array(points, dtype=np.float64), role, 0.0, outline)


def box(x: float, y: float, width: float, height: float, role: Role, outline: bool = True) -> Part:
    """Return an upright rectangle with its upper left corner at (`x`, `y`)."""
    return polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], role, outline)


def line(points: Sequence[tuple[float, float]], role: Role, width: float) -> Part:
    """Return an open line of the given width."""
    return Part(np.array(points, dtype=np.float64), role, width, False)


def ellipse(
    x: float, y: float, rx: float, ry: float, role: Role, turn: float = 0.0, outline: bool = True, corners: int = 18
) -> Part:
    """Return an ellipse around (`x`, `y`), turned by `turn` radians."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    u, v = rx * np.cos(angles), ry * np.sin(angles)
    cos, sin = math.cos(turn), math.sin(turn)
    return Part(np.stack([x + cos * u - sin * v, y + sin * u + cos * v], axis=1), role, 0.0, outline)


def arc(
    x: float, y: float, rx: float, ry: float, start: float, stop: float, corners: int = 12
) -> list[tuple[float, float]]:
    """Return points on an ellipse from angle `start` to `stop` in degrees (0 is right, 90 is down)."""
    angles = [math.radians(start + (stop - start) * k / (corners - 1)) for k in range(corners)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def _catmull_rom(steps: int) -> Points:
    t = np.arange(steps) / steps
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1)


_WEIGHTS = _catmull_rom(4)


def smooth(points: Points, closed: bool) -> Points:
    """Return a Catmull-Rom spline through the points (four samples a segment)."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    windows = np.stack([padded[k : len(padded) - 3 + k] for k in range(4)])
    curve: Points = np.einsum("sk,knd->nsd", _WEIGHTS, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def blob(points: Sequence[tuple[float, float]], role: Role, outline: bool = True) -> Part:
    """Return a filled shape with a smooth contour through the points."""
    return Part(smooth(np.array(points, dtype=np.float64), closed=True), role, 0.0, outline)


def limb(
    spine: Sequence[tuple[float, float]], widths: Sequence[float], role: Role, outline: bool = True, cap: float = 0.5
) -> Part:
    """Return a rounded, tapering shape along a smooth spine; `widths` has one entry for each of its points."""
    points, half = np.array(spine, dtype=np.float64), np.array(widths, dtype=np.float64) / 2
    if len(points) > 2:
        places = np.linspace(0, len(points) - 1, 4 * (len(points) - 1) + 1)
        points, half = smooth(points, closed=False), np.interp(places, np.arange(len(half)), half)
    step = np.empty_like(points)
    step[1:-1], step[0], step[-1] = points[2:] - points[:-2], points[1] - points[0], points[-1] - points[-2]
    along = step / np.maximum(np.hypot(step[:, :1], step[:, 1:]), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * half[:, None]
    tip, root = points[-1] + along[-1] * half[-1] * 2 * cap, points[0] - along[0] * half[0] * 2 * cap
    ends = [root + across[:1] * 0.6, points + across, tip + across[-1:] * 0.5, tip - across[-1:] * 0.5]
    return Part(np.concatenate([*ends, (points - across)[::-1], root - across[:1] * 0.6]), role, 0.0, outline)


def bounds(drawing: Drawing) -> tuple[float, float, float, float]:
    """Return the left, upper, right and lower end of a drawing."""
    points = np.concatenate([part.points for part in drawing])
    (left, upper), (right, lower) = points.min(axis=0), points.max(axis=0)
    return float(left), float(upper), float(right), float(lower)


def pose(
    drawing: Drawing, rng: Generator, tilt: float, flip: bool, share: tuple[float, float] = (0.72, 0.93)
) -> Drawing:
    """Return the drawing turned, stretched, mirrored and placed inside the unit square at random.

    Args:
        drawing: The shapes, anywhere and of any size.
        rng: Source of the random pose.
        tilt: Largest rotation to either side, in degrees.
        flip: Whether it may be mirrored.
        share: Smallest and largest share of the side that the drawing's longer extent takes.
    """
    angle, mirrored = math.radians(rng.uniform(-tilt, tilt)), flip and rng.random() < 0.5
    stretch, extent = rng.uniform(0.92, 1.08), rng.uniform(*share)
    right, down = rng.random(2)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]]) * np.array([[-stretch if mirrored else stretch], [1 / stretch]])
    points = np.concatenate([part.points for part in drawing]) @ turn
    low, high = points.min(axis=0), points.max(axis=0)
    scale = extent / float((high - low).max())
    room = 1 - (high - low) * scale
    # The subject keeps away from the border so that no style cuts its outline off.
    offset = 0.03 + np.maximum(room - 0.06, 0) * np.array([right, 0.25 + 0.5 * down])
    points = (points - low) * scale + offset
    ends = np.cumsum([len(part.points) for part in drawing])[:-1]
    pieces = np.split(points, ends)
    return tuple(
        Part(piece, part.role, part.width * scale, part.outline) for piece, part in zip(pieces, drawing, strict=True)
    )
