"""Small things, toys, buildings and things in the sky of the wider vocabulary."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, arc, blob, box, ellipse, limb, line, polygon
from hamdg.mini.nouns.noun import Noun, palettes


def clock(rng: Generator) -> Drawing:
    """Draw a round clock."""
    hands = [(rng.uniform(0, 2 * math.pi), length) for length in (0.16, 0.24)]
    ticks = [
        line([(math.cos(a) * 0.25, math.sin(a) * 0.25), (math.cos(a) * 0.3, math.sin(a) * 0.3)], "dark", 0.025)
        for a in (k * math.pi / 6 for k in range(12))
    ]
    needles = [line([(0, 0), (math.cos(a) * r, math.sin(a) * r)], "dark", 0.035) for a, r in hands]
    return (
        ellipse(0, 0, 0.4, 0.4, "body", corners=28),
        ellipse(0, 0, 0.33, 0.33, "light", corners=28),
        *ticks,
        *needles,
    )


def key(rng: Generator) -> Drawing:
    """Draw a key."""
    r = rng.uniform(0.13, 0.17)
    teeth = [box(x, 0.03, 0.06, rng.uniform(0.09, 0.14), "body") for x in (0.25, 0.36)]
    return (
        *teeth,
        box(-0.16, -0.035, 0.6, 0.075, "body"),
        ellipse(-0.26, 0, r, r, "body"),
        ellipse(-0.26, 0, r * 0.5, r * 0.5, "dark"),
    )


def hammer(rng: Generator) -> Drawing:
    """Draw a hammer."""
    wide = rng.uniform(0.2, 0.26)
    head = [(-wide, -0.4), (0.1, -0.4), (wide + 0.04, -0.33), (wide + 0.03, -0.28), (0.1, -0.22), (-wide, -0.22)]
    return (limb([(0, -0.3), (0, 0.44)], [0.07, 0.09], "second"), polygon(head, "body"))


def book(rng: Generator) -> Drawing:
    """Draw an open book."""
    sag = rng.uniform(0.03, 0.08)
    parts = [polygon([(-0.46, -0.18), (0.46, -0.18), (0.46, 0.26), (-0.46, 0.26)], "body")]
    for side in (-1, 1):
        parts.append(
            polygon(
                [
                    (0, -0.2 + sag),
                    (side * 0.2, -0.25),
                    (side * 0.42, -0.22),
                    (side * 0.42, 0.2),
                    (side * 0.2, 0.18),
                    (0, 0.22),
                ],
                "light",
            )
        )
        parts += [line([(side * 0.07, y), (side * 0.35, y - 0.01)], "far", 0.016) for y in (-0.13, -0.05, 0.03, 0.11)]
    return tuple(parts)


def hat(rng: Generator) -> Drawing:
    """Draw a hat with a ribbon."""
    wide, high = rng.uniform(0.15, 0.22), rng.uniform(0.24, 0.42)
    return (
        ellipse(0, 0.16, 0.44, 0.09, "body"),
        polygon([(-wide * 0.9, -high), (wide * 0.9, -high), (wide + 0.04, 0.15), (-wide - 0.04, 0.15)], "body"),
        polygon([(-wide - 0.02, 0.02), (wide + 0.02, 0.02), (wide + 0.04, 0.12), (-wide - 0.04, 0.12)], "accent"),
    )


def shoe(rng: Generator) -> Drawing:
    """Draw a shoe from the side."""
    high = rng.uniform(0.2, 0.3)
    upper = blob(
        [(-0.38, 0.1), (-0.36, -high), (-0.14, -high + 0.01), (-0.02, -0.08), (0.26, -0.02), (0.4, 0.1)], "body"
    )
    laces = [
        line([(-0.1 + 0.08 * k, -0.15 + 0.05 * k), (-0.02 + 0.08 * k, -0.06 + 0.02 * k)], "light", 0.025)
        for k in range(3)
    ]
    return (upper, *laces, limb([(-0.37, 0.14), (0.4, 0.14)], [0.08, 0.08], "second"))


def ball(rng: Generator) -> Drawing:
    """Draw a ball with a band."""
    turn = rng.uniform(-0.6, 0.6)
    dx, dy = math.cos(turn) * 0.37, math.sin(turn) * 0.37
    return (
        ellipse(0, 0, 0.38, 0.38, "body", corners=28),
        limb([(-dx, -dy), (dy * 0.3, -dx * 0.3), (dx, dy)], [0.09, 0.13, 0.09], "accent", cap=0),
        ellipse(-0.12, -0.2, 0.06, 0.05, "light", outline=False),
    )


def balloon(rng: Generator) -> Drawing:
    """Draw a balloon on a string."""
    sway = rng.uniform(-0.1, 0.1)
    return (
        line([(0, 0.14), (sway, 0.28), (-sway, 0.48)], "dark", 0.016),
        polygon([(-0.04, 0.19), (0, 0.11), (0.04, 0.19)], "second"),
        blob([(0, 0.14), (0.2, -0.02), (0.24, -0.22), (0, -0.42), (-0.24, -0.22), (-0.2, -0.02)], "body"),
        ellipse(-0.1, -0.24, 0.035, 0.07, "light", turn=0.4, outline=False),
    )


def kite(rng: Generator) -> Drawing:
    """Draw a kite with its tail."""
    wide = rng.uniform(0.22, 0.3)
    bows = [
        polygon([(x - 0.05, y - 0.03), (x + 0.05, y + 0.03), (x + 0.05, y - 0.03), (x - 0.05, y + 0.03)], "accent")
        for x, y in ((0.05, 0.28), (-0.02, 0.4))
    ]
    shape = [(0, -0.46), (wide, -0.14), (0, 0.2), (-wide, -0.14)]
    return (
        line([(0, 0.2), (0.06, 0.3), (-0.03, 0.4), (0.03, 0.5)], "dark", 0.016),
        polygon(shape, "body"),
        polygon([(0, -0.46), (wide, -0.14), (0, -0.14)], "second"),
        polygon([(0, 0.2), (-wide, -0.14), (0, -0.14)], "second"),
        *bows,
    )


def castle(rng: Generator) -> Drawing:
    """Draw a castle with two towers."""
    high = rng.uniform(0.3, 0.42)
    parts = [
        box(-0.26, -0.06, 0.52, 0.42, "body"),
        *[box(-0.24 + 0.13 * k, -0.13, 0.08, 0.08, "body") for k in range(4)],
    ]
    for x in (-0.42, 0.22):
        parts += [
            box(x, -high + 0.08, 0.2, high + 0.28, "body"),
            polygon([(x - 0.03, -high + 0.09), (x + 0.1, -high - 0.14), (x + 0.23, -high + 0.09)], "accent"),
            box(x + 0.07, -0.08, 0.06, 0.12, "dark"),
        ]
    gate = [(-0.08, 0.36), *arc(0, 0.16, 0.08, 0.08, 180, 360, 6), (0.08, 0.36)]
    return (*parts, polygon(gate, "dark"))


def bell(rng: Generator) -> Drawing:
    """Draw a bell."""
    wide = rng.uniform(0.28, 0.36)
    shape = [(0, -0.34), (0.14, -0.28), (0.18, -0.02), (wide, 0.22), (-wide, 0.22), (-0.18, -0.02), (-0.14, -0.28)]
    return (
        ellipse(0, 0.25, 0.07, 0.07, "second"),
        ellipse(0, -0.36, 0.06, 0.06, "second"),
        blob(shape, "body"),
        line([(-wide, 0.16), (wide, 0.16)], "second", 0.03),
    )


def star(rng: Generator) -> Drawing:
    """Draw a five-pointed star."""
    inner = rng.uniform(0.16, 0.2)
    return (
        polygon(
            [
                (
                    (0.42 if k % 2 == 0 else inner) * math.sin(k * math.pi / 5),
                    -(0.42 if k % 2 == 0 else inner) * math.cos(k * math.pi / 5),
                )
                for k in range(10)
            ],
            "body",
        ),
    )


def heart(rng: Generator) -> Drawing:
    """Draw a heart."""
    wide = rng.uniform(0.34, 0.42)
    shape = [
        (0, -0.16),
        (wide * 0.5, -0.34),
        (wide, -0.14),
        (wide * 0.6, 0.14),
        (0, 0.4),
        (-wide * 0.6, 0.14),
        (-wide, -0.14),
        (-wide * 0.5, -0.34),
    ]
    return (blob(shape, "body"), ellipse(-wide * 0.5, -0.16, 0.05, 0.07, "light", turn=0.5, outline=False))


def moon(rng: Generator) -> Drawing:
    """Draw a crescent moon."""
    depth = rng.uniform(0.12, 0.24)
    return (
        polygon([*arc(0, 0, 0.4, 0.4, 60, 300, 18), *arc(depth, 0, 0.4 - depth * 0.4, 0.346, 270, 90, 14)], "body"),
    )


def sun(rng: Generator) -> Drawing:
    """Draw a sun with rays."""
    count, long = int(rng.integers(8, 13)), rng.uniform(0.38, 0.45)
    rays = []
    for k in range(count):
        a = k * 2 * math.pi / count
        corners = [(math.cos(a + d) * r, math.sin(a + d) * r) for d, r in ((-0.16, 0.25), (0.0, long), (0.16, 0.25))]
        rays.append(polygon(corners, "accent"))
    return (*rays, ellipse(0, 0, 0.24, 0.24, "body"))


def cloud(rng: Generator) -> Drawing:
    """Draw a cloud."""
    bump = rng.uniform(0.16, 0.22)
    return (
        blob(
            [
                (-0.42, 0.1),
                (-0.4, -0.04),
                (-0.24, -0.1),
                (-0.1, -0.06 - bump),
                (0.1, -0.04 - bump),
                (0.22, -0.1),
                (0.4, -0.06),
                (0.44, 0.1),
                (0.2, 0.16),
                (-0.2, 0.16),
            ],
            "body",
        ),
    )


BELONGINGS: tuple[Noun, ...] = (
    Noun("clock", clock, palettes("96643c 6e4a2e f0f0e6", "5a5e68 3c3e46 f0f0e6", "c83c38 8c2828 f0f0e6")),
    Noun("key", key, palettes("dcb446 aa8232 f0f0e6", "a0a2a8 6e7076 f0f0e6"), tilt=45),
    Noun("hammer", hammer, palettes("787c84 aa7642 f0f0e6"), tilt=40),
    Noun("book", book, palettes("aa3232 782424 f0f0e6", "32508c 283c64 f0f0e6", "467850 325438 f0f0e6")),
    Noun("hat", hat, palettes("785438 543a28 3c2824", "3c3e46 2c2e34 be3232", "e6ce96 bea06e 506eaa"), tilt=10),
    Noun("shoe", shoe, palettes("be3c38 ecece8 f0f0e6", "465a8c ecece8 f0f0e6", "825636 463022 f0f0e6")),
    Noun("ball", ball, palettes("d23c38 962828 f6e6c8", "4682c8 325a8c f6d250"), tilt=40),
    Noun("balloon", balloon, palettes("d8323c a0242c f0f0e6", "508cdc 3c64a0 f0f0e6", "f0c83c be9628 f0f0e6")),
    Noun("kite", kite, palettes("d23c3c f6d250 4678c8", "4678c8 f0f0ec dc463c"), tilt=30),
    Noun("castle", castle, palettes("b0aca6 787470 aa3c38", "cebc9c 8c7c64 465a96"), tilt=3),
    Noun("bell", bell, palettes("e2b43c aa8228 f0f0e6", "be8c46 825e2e f0f0e6"), tilt=15),
    Noun("star", star, palettes("f6d246 c8a032 f0f0e6"), tilt=20),
    Noun("heart", heart, palettes("dc3246 a02432 f0f0e6"), tilt=12),
    Noun("moon", moon, palettes("f4e8aa c8be8c f0f0e6", "d6dae2 aaaeb6 f0f0e6"), tilt=20),
    Noun("sun", sun, palettes("face3c dca028 f8aa32"), tilt=20),
    Noun("cloud", cloud, palettes("ecf0f6 bec4ce f0f0e6", "a8aeb8 828892 f0f0e6"), tilt=4),
)
