"""Vehicles and household things of the wider vocabulary."""

from __future__ import annotations

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, Part, arc, blob, box, ellipse, limb, line, polygon
from hamdg.mini.nouns.noun import Noun, palettes


def _wheel(x: float, y: float, r: float) -> list[Part]:
    return [ellipse(x, y, r, r, "dark"), ellipse(x, y, r * 0.45, r * 0.45, "light", outline=False)]


def car(rng: Generator) -> Drawing:
    """Draw a car from the side."""
    roof, r = rng.uniform(0.16, 0.24), rng.uniform(0.085, 0.105)
    cabin = [(-0.26, 0.0), (-0.17, -roof), (0.12, -roof), (0.26, 0.0)]
    windows = [
        polygon([(-0.2, -0.01), (-0.14, -roof + 0.035), (-0.03, -roof + 0.035), (-0.03, -0.01)], "light"),
        polygon([(0.01, -0.01), (0.01, -roof + 0.035), (0.1, -roof + 0.035), (0.2, -0.01)], "light"),
    ]
    hull = blob(
        [(-0.46, 0.12), (-0.45, 0.02), (-0.2, -0.02), (0.25, -0.02), (0.45, 0.03), (0.47, 0.13), (0, 0.15)], "body"
    )
    return (polygon(cabin, "body"), *windows, hull, *_wheel(-0.27, 0.13, r), *_wheel(0.27, 0.13, r))


def bus(rng: Generator) -> Drawing:
    """Draw a bus from the side."""
    height = rng.uniform(0.34, 0.42)
    windows = [box(-0.4 + 0.17 * k, -height + 0.13, 0.13, 0.12, "light") for k in range(5)]
    stripe = box(-0.46, -0.05, 0.92, 0.05, "second", outline=False)
    return (
        box(-0.46, -height + 0.07, 0.92, height + 0.02, "body"),
        *windows,
        stripe,
        *_wheel(-0.26, 0.09, 0.08),
        *_wheel(0.27, 0.09, 0.08),
    )


def bicycle(rng: Generator) -> Drawing:
    """Draw a bicycle."""
    r, parts = rng.uniform(0.18, 0.21), []
    for x in (-0.26, 0.26):
        rim = arc(x, 0.12, r, r, 0, 360, 20)
        parts += [line(rim, "dark", 0.03), *[line([(x, 0.12), rim[k]], "far", 0.008) for k in (0, 5, 10, 15)]]
    frame = [
        [(-0.26, 0.12), (-0.02, 0.12), (0.2, -0.14), (-0.09, -0.14), (-0.26, 0.12)],
        [(-0.02, 0.12), (-0.11, -0.2)],
        [(0.26, 0.12), (0.18, -0.24), (0.3, -0.26)],
    ]
    return (
        *parts,
        *[line(path, "body", 0.035) for path in frame],
        limb([(-0.17, -0.21), (-0.05, -0.21)], [0.05, 0.04], "dark"),
    )


def airplane(rng: Generator) -> Drawing:
    """Draw an airplane from the side."""
    sweep = rng.uniform(0.1, 0.2)
    windows = [ellipse(-0.2 + 0.1 * k, -0.03, 0.022, 0.022, "dark", outline=False) for k in range(5)]
    return (
        polygon([(-0.44, -0.03), (-0.48, -0.24), (-0.38, -0.24), (-0.26, -0.04)], "second"),
        polygon([(-0.02, -0.04), (-sweep, -0.24), (-sweep + 0.09, -0.24), (0.16, -0.04)], "far"),
        limb([(-0.42, -0.02), (0.0, 0.0), (0.4, 0.01)], [0.08, 0.17, 0.13], "body"),
        *windows,
        polygon([(-0.04, 0.03), (-0.12 - sweep, 0.27), (-sweep, 0.27), (0.16, 0.03)], "second"),
    )


def rocket(rng: Generator) -> Drawing:
    """Draw a rocket on its flame."""
    wide, flame = rng.uniform(0.11, 0.15), rng.uniform(0.1, 0.2)
    fins = [
        polygon([(side * wide * 0.8, 0.08), (side * 0.28, 0.3), (side * wide * 0.7, 0.24)], "second")
        for side in (-1, 1)
    ]
    shape = blob(
        [
            (0, -0.46),
            (wide, -0.16),
            (wide, 0.12),
            (wide * 0.6, 0.27),
            (-wide * 0.6, 0.27),
            (-wide, 0.12),
            (-wide, -0.16),
        ],
        "body",
    )
    return (
        polygon([(-0.08, 0.24), (0, 0.3 + flame), (0.08, 0.24)], "accent"),
        *fins,
        shape,
        ellipse(0, -0.12, 0.06, 0.06, "light"),
    )


def boat(rng: Generator) -> Drawing:
    """Draw a sailing boat."""
    high = rng.uniform(0.38, 0.48)
    return (
        limb([(0, 0.2), (0, -high)], [0.03, 0.025], "dark"),
        polygon([(0.03, -high + 0.02), (0.34, 0.12), (0.03, 0.12)], "light"),
        polygon([(-0.03, -high + 0.1), (-0.28, 0.12), (-0.03, 0.12)], "second"),
        polygon([(-0.42, 0.18), (0.44, 0.18), (0.3, 0.36), (-0.3, 0.36)], "body"),
    )


def chair(rng: Generator) -> Drawing:
    """Draw a chair from the side."""
    back, lean = rng.uniform(0.36, 0.46), rng.uniform(0.02, 0.09)
    return (
        limb([(0.12, 0.06), (0.14, 0.42)], [0.05, 0.045], "far"),
        limb([(-0.1, 0.06), (-0.12, 0.42)], [0.05, 0.045], "far"),
        limb([(-0.2, 0.42), (-0.19, 0.05), (-0.2 - lean, -back)], [0.05, 0.055, 0.05], "body"),
        limb([(0.22, 0.05), (0.22, 0.42)], [0.055, 0.05], "body"),
        box(-0.22 - lean, -back, 0.07, 0.22, "second"),
        box(-0.24, 0.0, 0.5, 0.075, "body"),
    )


def table(rng: Generator) -> Drawing:
    """Draw a table."""
    height = rng.uniform(0.32, 0.42)
    inner = [box(x, 0.0, 0.05, height * 0.85, "far") for x in (-0.26, 0.21)]
    return (
        *inner,
        box(-0.41, 0, 0.06, height, "body"),
        box(0.35, 0, 0.06, height, "body"),
        polygon([(-0.38, -0.09), (0.38, -0.09), (0.47, 0.05), (-0.47, 0.05)], "body"),
    )


def lamp(rng: Generator) -> Drawing:
    """Draw a table lamp."""
    wide = rng.uniform(0.24, 0.3)
    return (
        ellipse(0, 0.4, 0.17, 0.05, "second"),
        limb([(0, 0.38), (0, -0.1)], [0.05, 0.04], "second"),
        polygon([(-0.13, -0.38), (0.13, -0.38), (wide, -0.04), (-wide, -0.04)], "body"),
    )


def cup(rng: Generator) -> Drawing:
    """Draw a cup with a handle."""
    low = rng.uniform(0.15, 0.22)
    return (
        line(arc(0.24, 0.02, 0.15, 0.13, -80, 90), "body", 0.06),
        polygon([(-0.26, -0.2), (0.26, -0.2), (low, 0.28), (-low, 0.28)], "body"),
        ellipse(0, -0.2, 0.26, 0.07, "second"),
    )


def bottle(rng: Generator) -> Drawing:
    """Draw a bottle with a label."""
    wide, neck = rng.uniform(0.12, 0.16), rng.uniform(0.045, 0.06)
    shape = [
        (-neck, -0.44),
        (neck, -0.44),
        (neck, -0.2),
        (wide, -0.06),
        (wide, 0.44),
        (-wide, 0.44),
        (-wide, -0.06),
        (-neck, -0.2),
    ]
    return (
        polygon(shape, "body"),
        box(-neck - 0.01, -0.5, 2 * neck + 0.02, 0.08, "accent"),
        box(-wide, 0.08, 2 * wide, 0.2, "light"),
    )


def umbrella(rng: Generator) -> Drawing:
    """Draw an open umbrella."""
    high = rng.uniform(0.26, 0.36)
    hook = [(0, -0.1), (0, 0.34), *arc(0.06, 0.36, 0.06, 0.07, 180, 0, 6)]
    canopy = [
        (-0.42, 0.0),
        *arc(0, 0, 0.42, high, 180, 360),
        (0.42, 0),
        (0.28, -0.06),
        (0.14, 0.0),
        (0, -0.06),
        (-0.14, 0.0),
        (-0.28, -0.06),
    ]
    ribs = [line([(0, -high), (x, -0.03)], "second", 0.014) for x in (-0.14, 0.14)]
    return (line(hook, "dark", 0.035), polygon(canopy, "body"), *ribs)


THINGS: tuple[Noun, ...] = (
    Noun("car", car, palettes("c82c2c 8c1e1e f0f0e6", "3c64be 284682 f0f0e6", "c8cace 96989c f0f0e6")),
    Noun("bus", bus, palettes("ecb428 3c3c3c f0f0e6", "be3232 f0ece6 f0f0e6"), tilt=4),
    Noun("bicycle", bicycle, palettes("286eb4 28282c f0f0e6", "c83232 28282c f0f0e6", "3c8c46 28282c f0f0e6")),
    Noun("airplane", airplane, palettes("e2e4e8 466eb4 f0f0e6", "ececec c83c32 f0f0e6"), tilt=20),
    Noun("rocket", rocket, palettes("e4e4e8 c83232 fa9628", "788296 3c5096 faa028"), tilt=30),
    Noun("boat", boat, palettes("965a32 ecd2aa f0f0e6", "32508c d2463c f0f0e6")),
    Noun("chair", chair, palettes("966238 b43c32 f0f0e6", "5a4232 46648c f0f0e6")),
    Noun("table", table, palettes("a06c3e 6e4a2e f0f0e6", "6a4c38 50382a f0f0e6"), tilt=4),
    Noun("lamp", lamp, palettes("f6e2a0 785438 f0f0e6", "d25a46 505056 f0f0e6")),
    Noun("cup", cup, palettes("ecece8 784c2e f0f0e6", "5082be 6e462c f0f0e6", "c85046 6e462c f0f0e6")),
    Noun("bottle", bottle, palettes("326e42 285032 aa3232", "784828 50321e dcbe50"), tilt=12),
    Noun("umbrella", umbrella, palettes("c8323c 96222c f0f0e6", "465aaa 2e3c78 f0f0e6"), tilt=15),
)
