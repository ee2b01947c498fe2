"""What a noun is: a parametric drawing with its natural colors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, Part, Role, limb, polygon
from hamdg.mini.palette import RGB


@dataclass(frozen=True, slots=True)
class Noun:
    """Something that can be drawn.

    Args:
        name: The word used in captions.
        draw: Draws one specimen; all variation comes from the generator.
        palettes: Natural colors, each as (body, second, accent).
        tilt: Largest rotation to either side, in degrees.
        flip: Whether the mirror image is as natural.
    """

    name: str
    draw: Callable[[Generator], Drawing]
    palettes: tuple[tuple[RGB, RGB, RGB], ...]
    tilt: float = 6.0
    flip: bool = True


def palettes(*codes: str) -> tuple[tuple[RGB, RGB, RGB], ...]:
    """Return palettes from codes like `"c82c2c 8c1e1e f0f0e6"`: body, second and accent color in hexadecimal."""
    parsed = [[_color(code) for code in text.split()] for text in codes]
    return tuple((body, second, accent) for body, second, accent in parsed)


def _color(code: str) -> RGB:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


def leg(x: float, y: float, length: float, width: float, swing: float, role: Role, hoof: bool = False) -> list[Part]:
    """Return a leg hanging from (`x`, `y`), its foot moved sideways by `swing`, with a dark hoof if wanted."""
    foot, knee = x + swing, x + 0.35 * swing
    parts = [
        limb([(x, y), (knee, y + 0.5 * length), (foot, y + length)], [width * 1.25, width, width * 0.9], role, cap=0)
    ]
    if hoof:
        low, half = y + length, width * 0.5
        corners = [(foot - half * 0.9, low - width * 0.6), (foot + half * 0.9, low - width * 0.6)]
        parts.append(polygon([*corners, (foot + half * 1.3, low), (foot - half * 1.1, low)], "dark", outline=False))
    return parts


def legs(
    rng: Generator, xs: tuple[float, float], y: float, length: float, width: float, hoof: bool
) -> tuple[list[Part], list[Part]]:
    """Return the far and the near legs of an animal in a random stride; `xs` says where hips and shoulders are."""
    stride = rng.uniform(0.0, 0.3) * length
    signs = (1, -1) if rng.random() < 0.5 else (-1, 1)
    shift = 0.12 * (xs[1] - xs[0])
    far = [
        part
        for x, sign, inwards in zip(xs, signs, (1, -1), strict=True)
        for part in leg(x + inwards * shift, y, length * 0.97, width, -sign * stride, "far", hoof)
    ]
    near = [
        part
        for x, sign in zip(xs, signs, strict=True)
        for part in leg(x, y, length, width, sign * stride, "body", hoof)
    ]
    return far, near
