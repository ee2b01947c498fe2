"""The colors of what stands in a street, in plain light."""

from __future__ import annotations

from numpy.random import Generator

from hamdg.mini.palette import RGB, jittered, scaled

WALLS: tuple[RGB, ...] = (
    (176, 126, 98), (150, 96, 78), (196, 176, 146), (168, 164, 156), (134, 128, 126), (204, 190, 168), (140, 112, 94),
)  # fmt: skip
PAINTS: tuple[RGB, ...] = (
    (188, 32, 34), (34, 62, 142), (232, 232, 230), (44, 46, 52), (160, 164, 170), (226, 178, 42), (36, 112, 84),
    (108, 30, 52),
)  # fmt: skip
CLOTHES: tuple[RGB, ...] = (
    (206, 52, 48), (48, 76, 172), (238, 206, 74), (92, 48, 112), (232, 230, 226), (58, 134, 84), (236, 128, 60),
    (44, 44, 50),
)  # fmt: skip
TROUSERS: tuple[RGB, ...] = ((38, 42, 62), (70, 64, 58), (32, 32, 34), (92, 96, 112))
SKINS: tuple[RGB, ...] = ((236, 196, 166), (206, 154, 116), (142, 96, 66), (92, 60, 44))
LEAVES: tuple[RGB, ...] = ((66, 118, 48), (88, 136, 58), (52, 98, 52), (112, 142, 62))
ASPHALT: RGB = (92, 92, 96)
PAVING: RGB = (168, 158, 150)
STEEL: RGB = (78, 82, 86)
GLASS: RGB = (56, 68, 82)
DARK: RGB = (28, 28, 30)


def pick(colors: tuple[RGB, ...], rng: Generator) -> RGB:
    """Return one of some colors, a little changed."""
    return jittered(colors[int(rng.integers(len(colors)))], rng, 8)


def wall_color(rng: Generator, light: float) -> RGB:
    """Return the color of a house.

    Args:
        rng: Draws it.
        light: How bright its side of the street is.
    """
    return scaled(jittered(WALLS[int(rng.integers(len(WALLS)))], rng, 12), light)


def leaf_color(rng: Generator) -> RGB:
    """Return the color of leaves or grass."""
    return jittered(LEAVES[int(rng.integers(len(LEAVES)))], rng, 10)
