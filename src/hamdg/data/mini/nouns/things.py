"""Things that people make, and things in the sky: the rest of the wider vocabulary."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.data.mini.geometry import Drawing, Part, arc, blob, box, ellipse, limb, line, polygon
from hamdg.data.mini.nouns.noun import Noun


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
        *[
            limb([(x, 0.06), (x + d, 0.42)], [0.05, 0.045], role)
            for x, d, role in ((0.12, 0.02, "far"), (-0.1, -0.02, "far"))
        ],  # type: ignore[arg-type]
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


_WHITE = (240, 240, 230)
THINGS: tuple[Noun, ...] = (
    Noun("car", car, (((200, 44, 44), (140, 30, 30), _WHITE), ((60, 100, 190), (40, 70, 130), _WHITE), ((200, 202, 206), (150, 152, 156), _WHITE))),
    Noun("bus", bus, (((236, 180, 40), (60, 60, 60), _WHITE), ((190, 50, 50), (240, 236, 230), _WHITE)), tilt=4),
    Noun("bicycle", bicycle, (((40, 110, 180), (40, 40, 44), _WHITE), ((200, 50, 50), (40, 40, 44), _WHITE), ((60, 140, 70), (40, 40, 44), _WHITE))),
    Noun("airplane", airplane, (((226, 228, 232), (70, 110, 180), _WHITE), ((236, 236, 236), (200, 60, 50), _WHITE)), tilt=20),
    Noun("rocket", rocket, (((228, 228, 232), (200, 50, 50), (250, 150, 40)), ((120, 130, 150), (60, 80, 150), (250, 160, 40))), tilt=30),
    Noun("boat", boat, (((150, 90, 50), (236, 210, 170), _WHITE), ((50, 80, 140), (210, 70, 60), _WHITE))),
    Noun("chair", chair, (((150, 98, 56), (180, 60, 50), _WHITE), ((90, 66, 50), (70, 100, 140), _WHITE))),
    Noun("table", table, (((160, 108, 62), (110, 74, 46), _WHITE), ((106, 76, 56), (80, 56, 42), _WHITE)), tilt=4),
    Noun("lamp", lamp, (((246, 226, 160), (120, 84, 56), _WHITE), ((210, 90, 70), (80, 80, 86), _WHITE))),
    Noun("cup", cup, (((236, 236, 232), (120, 76, 46), _WHITE), ((80, 130, 190), (110, 70, 44), _WHITE), ((200, 80, 70), (110, 70, 44), _WHITE))),
    Noun("bottle", bottle, (((50, 110, 66), (40, 80, 50), (170, 50, 50)), ((120, 72, 40), (80, 50, 30), (220, 190, 80))), tilt=12),
    Noun("umbrella", umbrella, (((200, 50, 60), (150, 34, 44), _WHITE), ((70, 90, 170), (46, 60, 120), _WHITE)), tilt=15),
    Noun("clock", clock, (((150, 100, 60), (110, 74, 46), _WHITE), ((90, 94, 104), (60, 62, 70), _WHITE), ((200, 60, 56), (140, 40, 40), _WHITE))),
    Noun("key", key, (((220, 180, 70), (170, 130, 50), _WHITE), ((160, 162, 168), (110, 112, 118), _WHITE)), tilt=45),
    Noun("hammer", hammer, (((120, 124, 132), (170, 118, 66), _WHITE),), tilt=40),
    Noun("book", book, (((170, 50, 50), (120, 36, 36), _WHITE), ((50, 80, 140), (40, 60, 100), _WHITE), ((70, 120, 80), (50, 84, 56), _WHITE))),
    Noun("hat", hat, (((120, 84, 56), (84, 58, 40), (60, 40, 36)), ((60, 62, 70), (44, 46, 52), (190, 50, 50)), ((230, 206, 150), (190, 160, 110), (80, 110, 170))), tilt=10),
    Noun("shoe", shoe, (((190, 60, 56), (236, 236, 232), _WHITE), ((70, 90, 140), (236, 236, 232), _WHITE), ((130, 86, 54), (70, 48, 34), _WHITE))),
    Noun("ball", ball, (((210, 60, 56), (150, 40, 40), (246, 230, 200)), ((70, 130, 200), (50, 90, 140), (246, 210, 80))), tilt=40),
    Noun("balloon", balloon, (((216, 50, 60), (160, 36, 44), _WHITE), ((80, 140, 220), (60, 100, 160), _WHITE), ((240, 200, 60), (190, 150, 40), _WHITE))),
    Noun("kite", kite, (((210, 60, 60), (246, 210, 80), (70, 120, 200)), ((70, 120, 200), (240, 240, 236), (220, 70, 60))), tilt=30),
    Noun("castle", castle, (((176, 172, 166), (120, 116, 112), (170, 60, 56)), ((206, 188, 156), (140, 124, 100), (70, 90, 150))), tilt=3),
    Noun("bell", bell, (((226, 180, 60), (170, 130, 40), _WHITE), ((190, 140, 70), (130, 94, 46), _WHITE)), tilt=15),
    Noun("star", star, (((246, 210, 70), (200, 160, 50), _WHITE),), tilt=20),
    Noun("heart", heart, (((220, 50, 70), (160, 36, 50), _WHITE),), tilt=12),
    Noun("moon", moon, (((244, 232, 170), (200, 190, 140), _WHITE), ((214, 218, 226), (170, 174, 182), _WHITE)), tilt=20),
    Noun("sun", sun, (((250, 206, 60), (220, 160, 40), (248, 170, 50)),), tilt=20),
    Noun("cloud", cloud, (((236, 240, 246), (190, 196, 206), _WHITE), ((168, 174, 184), (130, 136, 146), _WHITE)), tilt=4),
)  # fmt: skip
