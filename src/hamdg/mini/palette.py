"""Colors: names, natural palettes of subjects, and the seven scenes that stand behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hamdg.mini.geometry import Role

RGB = tuple[int, int, int]
Palette = Mapping[Role, RGB]

COLORS: Mapping[str, RGB] = {
    "red": (214, 40, 40),
    "orange": (240, 135, 30),
    "yellow": (245, 212, 50),
    "green": (50, 150, 60),
    "blue": (45, 90, 205),
    "purple": (130, 60, 170),
    "pink": (240, 140, 180),
    "brown": (125, 78, 42),
    "black": (35, 35, 38),
    "white": (240, 240, 238),
    "gray": (135, 137, 140),
    "teal": (30, 160, 160),
}


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What stands behind the subject.

    Args:
        upper: Color of the sky or wall.
        lower: Color of the ground or floor.
        scene: Index of the scene: it decides the props (clouds, trees, windows) and a sketch's paper.
        plain: One flat color without a horizon.
    """

    upper: RGB
    lower: RGB
    scene: int
    plain: bool = False


SCENES: tuple[Backdrop, ...] = (
    Backdrop((150, 192, 235), (112, 156, 70), 0),  # meadow
    Backdrop((150, 220, 225), (226, 204, 150), 1),  # beach
    Backdrop((205, 216, 232), (240, 243, 248), 2),  # snow
    Backdrop((245, 160, 95), (140, 85, 62), 3),  # sunset
    Backdrop((70, 72, 135), (48, 56, 84), 4),  # night
    Backdrop((230, 178, 178), (165, 112, 80), 5),  # room
    Backdrop((178, 178, 182), (112, 112, 116), 6),  # street
)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return `first` with the given share of `second` mixed in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(color: RGB, factor: float) -> RGB:
    """Return the color with its brightness multiplied."""
    red, green, blue = (max(0, min(255, round(value * factor))) for value in color)
    return red, green, blue


def jittered(color: RGB, rng: Generator, spread: float) -> RGB:
    """Return the color moved at random by at most `spread` in each channel, and together by as much again."""
    shift = rng.uniform(-spread, spread, 4)
    red, green, blue = (max(0, min(255, round(value + shift[k] + shift[3]))) for k, value in enumerate(color))
    return red, green, blue


def saturated(color: RGB, strength: float) -> RGB:
    """Return the color with its distance from gray multiplied by `strength`."""
    gray = sum(color) / 3
    red, green, blue = (max(0, min(255, round(gray + (value - gray) * strength))) for value in color)
    return red, green, blue


def distance(first: RGB, second: RGB) -> float:
    """Return the Euclidean distance of two colors."""
    return float(np.hypot(np.hypot(first[0] - second[0], first[1] - second[1]), first[2] - second[2]))


def complete(body: RGB, second: RGB, accent: RGB) -> dict[Role, RGB]:
    """Return a whole palette from the three colors that make a subject."""
    return {
        "body": body,
        "far": scaled(body, 0.72),
        "second": second,
        "dark": (32, 28, 28),
        "light": (244, 242, 234),
        "accent": accent,
    }


def natural(choices: Sequence[tuple[RGB, RGB, RGB]], rng: Generator) -> dict[Role, RGB]:
    """Return one of a noun's own palettes, slightly varied."""
    body, second, accent = choices[int(rng.integers(len(choices)))]
    return complete(jittered(body, rng, 12), jittered(second, rng, 10), jittered(accent, rng, 12))


def named(color: str, rng: Generator) -> dict[Role, RGB]:
    """Return a palette in which the subject has the named color."""
    body = jittered(COLORS[color], rng, 10)
    brightness = sum(body) / 3
    second = scaled(body, 0.6) if brightness > 70 else mix(body, (255, 255, 255), 0.35)
    others = [name for name in COLORS if name not in (color, "black", "white")]
    accent = COLORS[others[int(rng.integers(len(others)))]]
    return complete(body, second, mix(accent, body, 0.25))


def apart(backdrop: Backdrop, body: RGB, least: float = 70.0) -> Backdrop:
    """Return the backdrop, lightened or darkened where the subject would vanish in front of it."""

    def away(color: RGB) -> RGB:
        if distance(color, body) >= least:
            return color
        lighter, darker = mix(color, (255, 255, 255), 0.5), scaled(color, 0.5)
        return lighter if distance(lighter, body) >= distance(darker, body) else darker

    return Backdrop(away(backdrop.upper), away(backdrop.lower), backdrop.scene, backdrop.plain)
