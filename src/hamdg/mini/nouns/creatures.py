"""Animals and plants of the wider vocabulary."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, Part, arc, blob, box, ellipse, limb, line, polygon
from hamdg.mini.nouns.noun import Noun, legs, palettes


def _eye(x: float, y: float, size: float = 0.02) -> Part:
    return ellipse(x, y, size, size, "dark", outline=False)


def cat(rng: Generator) -> Drawing:
    """Draw a sitting cat seen from the front."""
    swing, wide = rng.uniform(-0.08, 0.1), rng.uniform(0.17, 0.22)
    ears = [polygon([(s * 0.17, -0.15), (s * 0.16, -0.4), (s * 0.03, -0.28)], "body") for s in (-1, 1)]
    parts = [
        limb([(0.12, 0.33), (0.32, 0.28), (0.34 + swing, 0.02)], [0.08, 0.07, 0.05], "second"),
        blob([(-wide, 0.36), (-0.16, 0.05), (0.0, -0.08), (0.16, 0.05), (wide, 0.36), (0, 0.4)], "body"),
        *ears,
        ellipse(0, -0.17, 0.18, 0.15, "body"),
        ellipse(0, 0.18, 0.08, 0.12, "light", outline=False),
        _eye(-0.07, -0.2, 0.026),
        _eye(0.07, -0.2, 0.026),
        ellipse(0, -0.13, 0.022, 0.016, "accent", outline=False),
    ]
    for side in (-1, 1):
        parts += [line([(side * 0.06, -0.11 + d), (side * 0.24, -0.14 + 2.2 * d)], "dark", 0.01) for d in (0.0, 0.03)]
    return tuple(parts)


def rabbit(rng: Generator) -> Drawing:
    """Draw a sitting rabbit with long ears."""
    lean = rng.uniform(-0.08, 0.05)
    ears = [limb([(0.16, -0.2), (0.13 + lean + d, -0.5)], [0.06, 0.08], "far" if d else "body") for d in (0.09, 0.0)]
    return (
        ellipse(-0.28, 0.2, 0.065, 0.065, "light"),
        blob([(-0.27, 0.3), (-0.27, 0.08), (-0.05, -0.06), (0.15, 0.02), (0.17, 0.32)], "body"),
        ellipse(-0.1, 0.2, 0.14, 0.13, "second"),
        limb([(-0.12, 0.34), (0.06, 0.34)], [0.07, 0.06], "body"),
        *ears,
        ellipse(0.18, -0.1, 0.15, 0.12, "body"),
        _eye(0.23, -0.13),
    )


def bird(rng: Generator) -> Drawing:
    """Draw a perching bird."""
    lift = rng.uniform(-0.1, 0.12)
    return (
        line([(-0.03, 0.12), (-0.05, 0.3)], "dark", 0.022),
        line([(0.06, 0.12), (0.06, 0.3)], "dark", 0.022),
        polygon([(-0.17, 0.0), (-0.46, 0.05), (-0.42, 0.16), (-0.12, 0.1)], "second"),
        polygon([(0.28, -0.17), (0.4, -0.12), (0.28, -0.08)], "accent"),
        blob(
            [(-0.22, 0.06), (-0.05, -0.1), (0.08, -0.24), (0.24, -0.24), (0.3, -0.12), (0.2, 0.08), (0, 0.16)], "body"
        ),
        blob([(0.1, -0.02), (-0.05, -0.07 + lift * 0.3), (-0.3, 0.02 + lift), (-0.08, 0.12)], "second"),
        _eye(0.2, -0.16),
    )


def duck(rng: Generator) -> Drawing:
    """Draw a swimming duck."""
    neck = rng.uniform(0.12, 0.22)
    return (
        blob([(-0.36, -0.1), (-0.28, 0.16), (0.0, 0.24), (0.26, 0.14), (0.28, -0.02), (0.0, 0.0), (-0.2, 0.0)], "body"),
        limb([(0.18, 0.04), (0.22, -neck)], [0.15, 0.12], "body"),
        polygon([(0.3, -neck - 0.12), (0.48, -neck - 0.05), (0.3, -neck - 0.02)], "accent"),
        ellipse(0.22, -neck - 0.06, 0.115, 0.11, "body"),
        blob([(0.1, 0.06), (-0.08, 0.02), (-0.24, 0.06), (-0.05, 0.16)], "second"),
        _eye(0.26, -neck - 0.09),
    )


def fish(rng: Generator) -> Drawing:
    """Draw a fish."""
    height, tail = rng.uniform(0.17, 0.26), rng.uniform(0.13, 0.2)
    stripes = [line([(x, -height * 0.75), (x + 0.02, height * 0.7)], "second", 0.035) for x in (-0.06, 0.06)]
    return (
        polygon([(-0.22, 0), (-0.45, -tail), (-0.39, 0), (-0.45, tail)], "second"),
        polygon([(-0.12, -height * 0.8), (0.0, -height - 0.1), (0.12, -height * 0.8)], "second"),
        ellipse(0, 0, 0.3, height, "body"),
        *stripes,
        ellipse(0.19, -0.05, 0.035, 0.035, "light", outline=False),
        _eye(0.2, -0.05, 0.018),
    )


def pig(rng: Generator) -> Drawing:
    """Draw a pig."""
    far, near = legs(rng, (-0.22, 0.18), 0.1, 0.2, 0.08, hoof=True)
    curl = [(x, y) for x, y in arc(-0.4, -0.06, 0.05, 0.05, 0, 300)]
    return (
        *far,
        line(curl, "second", 0.025),
        ellipse(0, 0, 0.36, rng.uniform(0.2, 0.25), "body"),
        *near,
        polygon([(0.24, -0.2), (0.22, -0.34), (0.36, -0.24)], "second"),
        ellipse(0.34, -0.09, 0.16, 0.15, "body"),
        ellipse(0.48, -0.05, 0.05, 0.07, "second"),
        _eye(0.37, -0.13),
    )


def snake(rng: Generator) -> Drawing:
    """Draw a winding snake."""
    sway = rng.uniform(0.1, 0.18)
    spine = [(-0.45, 0.1), (-0.3, -sway), (-0.1, sway), (0.1, -sway), (0.28, sway), (0.4, -0.08)]
    return (
        line([(0.46, -0.16), (0.56, -0.24)], "accent", 0.02),
        limb(spine, [0.03, 0.075, 0.09, 0.095, 0.09, 0.08], "body"),
        ellipse(0.43, -0.12, 0.09, 0.065, "second", turn=-0.7),
        _eye(0.44, -0.14),
    )


def turtle(rng: Generator) -> Drawing:
    """Draw a turtle with its shell."""
    height = rng.uniform(0.22, 0.3)
    shell = [(-0.32, 0.1), *arc(0, 0.1, 0.32, height, 180, 360), (0.32, 0.1)]
    cells = [
        polygon(
            [(x, -0.06), (x + 0.07, -0.1), (x + 0.13, -0.06), (x + 0.12, 0.04), (x + 0.01, 0.04)], "far", outline=False
        )
        for x in (-0.23, -0.065, 0.1)
    ]
    return (
        limb([(-0.3, 0.12), (-0.42, 0.15)], [0.05, 0.02], "second"),
        limb([(-0.2, 0.08), (-0.22, 0.24)], [0.1, 0.1], "second"),
        limb([(0.2, 0.08), (0.22, 0.24)], [0.1, 0.1], "second"),
        limb([(0.26, 0.1), (0.42, 0.0)], [0.11, 0.12], "second"),
        polygon(shell, "body"),
        *cells,
        _eye(0.44, -0.02),
    )


def butterfly(rng: Generator) -> Drawing:
    """Draw a butterfly with its wings open."""
    span, parts = rng.uniform(0.2, 0.26), []
    for side in (-1, 1):
        parts += [
            ellipse(side * span * 0.9, 0.13, 0.15, 0.12, "second", turn=side * 0.6),
            ellipse(side * span, -0.11, 0.2, 0.14, "body", turn=-side * 0.6),
            ellipse(side * span * 1.1, -0.12, 0.06, 0.05, "light", outline=False),
            line([(0, -0.17), (side * 0.1, -0.34)], "dark", 0.015),
        ]
    return (*parts, limb([(0, -0.17), (0, 0.2)], [0.06, 0.04], "dark"))


def spider(rng: Generator) -> Drawing:
    """Draw a spider."""
    bend, parts = rng.uniform(0.12, 0.2), []
    for side in (-1, 1):
        for k in range(4):
            y = -0.14 + 0.11 * k
            parts.append(
                line([(0, y * 0.5), (side * 0.26, y - bend + 0.06 * k), (side * 0.42, y + 0.12)], "dark", 0.025)
            )
    return (
        *parts,
        ellipse(0, 0.1, 0.16, 0.19, "body"),
        ellipse(0, -0.12, 0.1, 0.1, "second"),
        _eye(-0.03, -0.15),
        _eye(0.03, -0.15),
    )


def tree(rng: Generator) -> Drawing:
    """Draw a broad-leaved tree or a fir."""
    trunk = box(-0.05, 0.1, 0.1, 0.32, "second")
    if rng.random() < 0.35:
        tiers = [
            polygon([(-w, y), (0, y - 0.26), (w, y)], "body") for w, y in ((0.27, 0.22), (0.22, 0.04), (0.16, -0.12))
        ]
        return (trunk, *tiers)
    r = rng.uniform(0.17, 0.21)
    angles = [(k * math.pi / 6, 1.5 if k % 2 else 1.2) for k in range(12)]
    crown = [(math.cos(a) * r * f, -0.12 + math.sin(a) * r * f) for a, f in angles]
    return (trunk, blob(crown, "body"))


def flower(rng: Generator) -> Drawing:
    """Draw a flower with petals, stem and leaf."""
    count, r = int(rng.integers(5, 8)), rng.uniform(0.11, 0.14)
    petals = [
        ellipse(math.cos(a) * 0.15, -0.2 + math.sin(a) * 0.15, r, r * 0.72, "body", turn=a)
        for a in (k * 2 * math.pi / count for k in range(count))
    ]
    stem = limb([(0, -0.15), (0.02, 0.15), (0, 0.44)], [0.035, 0.035, 0.035], "second")
    leaf = ellipse(0.12, 0.2, 0.12, 0.05, "second", turn=-0.5)
    return (stem, leaf, *petals, ellipse(0, -0.2, 0.085, 0.085, "accent"))


def cactus(rng: Generator) -> Drawing:
    """Draw a cactus in a pot."""
    left, right = rng.uniform(-0.1, 0.05), rng.uniform(-0.18, -0.02)
    return (
        limb([(0, 0.02), (-0.2, 0.02), (-0.21, left - 0.14)], [0.1, 0.1, 0.09], "body"),
        limb([(0, 0.12), (0.2, 0.1), (0.21, right - 0.08)], [0.1, 0.1, 0.09], "body"),
        limb([(0, 0.3), (0, -0.34)], [0.17, 0.15], "body"),
        *[line([(x, 0.2), (x, -0.3)], "second", 0.012) for x in (-0.03, 0.03)],
        polygon([(-0.17, 0.24), (0.17, 0.24), (0.12, 0.46), (-0.12, 0.46)], "accent"),
    )


def mushroom(rng: Generator) -> Drawing:
    """Draw a mushroom with a dotted cap."""
    height = rng.uniform(0.26, 0.36)
    dots = [
        ellipse(x, -0.04 - y * height, r, r * 0.85, "light", outline=False)
        for x, y, r in ((-0.17, 0.28, 0.05), (0.02, 0.6, 0.06), (0.18, 0.24, 0.045))
    ]
    return (
        limb([(0, -0.02), (0, 0.32)], [0.15, 0.2], "light", cap=0.2),
        polygon([(-0.34, 0.0), *arc(0, 0, 0.34, height, 180, 360), (0.34, 0.0)], "body"),
        *dots,
    )


def apple(rng: Generator) -> Drawing:
    """Draw an apple with its stalk and leaf."""
    wide = rng.uniform(0.3, 0.36)
    shape = [
        (0, -0.18),
        (wide * 0.6, -0.26),
        (wide, -0.05),
        (wide * 0.75, 0.22),
        (0.08, 0.32),
        (0, 0.28),
        (-0.08, 0.32),
        (-wide * 0.75, 0.22),
        (-wide, -0.05),
        (-wide * 0.6, -0.26),
    ]
    return (
        blob(shape, "body"),
        limb([(0, -0.18), (0.04, -0.38)], [0.04, 0.04], "dark"),
        ellipse(0.15, -0.34, 0.11, 0.05, "second", turn=-0.4),
        ellipse(-0.15, -0.08, 0.04, 0.08, "light", turn=0.4, outline=False),
    )


def banana(rng: Generator) -> Drawing:
    """Draw a banana."""
    bend = rng.uniform(0.2, 0.3)
    spine = [(-0.36, -0.16), (-0.2, bend - 0.06), (0.06, bend), (0.34, -0.12)]
    return (
        limb(spine, [0.07, 0.18, 0.19, 0.06], "body"),
        limb([(0.33, -0.1), (0.37, -0.21)], [0.06, 0.05], "dark"),
        limb([(-0.36, -0.15), (-0.37, -0.18)], [0.05, 0.04], "dark"),
    )


CREATURES: tuple[Noun, ...] = (
    Noun("cat", cat, palettes("d88c46 b06830 e6828c", "78787e 56565c e6828c", "343032 464246 e6828c")),
    Noun("rabbit", rabbit, palettes("ba9e82 967a60 dc7882", "e4e2e0 c4c0be dc7882")),
    Noun("bird", bird, palettes("4682c8 2c548c f0aa32", "c8463c 783432 f0be3c", "ecc846 b48c28 e67828")),
    Noun("duck", duck, palettes("f4d646 dcaa32 f08228", "eeeeec ccccce f09632")),
    Noun("fish", fish, palettes("f08c32 faf0e6 3c3c3c", "5096c8 325a96 e6c85a"), tilt=12),
    Noun("pig", pig, palettes("f0b0b4 dc828c c85a64")),
    Noun("snake", snake, palettes("609646 3c6832 d22828", "aa8250 6e5032 d22828"), tilt=25),
    Noun("turtle", turtle, palettes("54783c 96aa5a c83c3c", "82603a 78a050 c83c3c")),
    Noun(
        "butterfly",
        butterfly,
        palettes("f08c28 5a3c28 f0f0e6", "5082dc 283c82 f0f0e6", "c85aaa 78326e f0f0e6"),
        tilt=20,
    ),
    Noun("spider", spider, palettes("463c38 322a28 c82828", "78543c 5a3e2c c82828"), tilt=25),
    Noun("tree", tree, palettes("468c3c 6e4c30 c83c32", "ce7828 60422e c83c32")),
    Noun("flower", flower, palettes("dc3c50 468c3c f5d246", "ece2ec 468c3c f5c83c", "965ac8 3c823c f5d246"), tilt=12),
    Noun("cactus", cactus, palettes("509654 326e3c be643c")),
    Noun("mushroom", mushroom, palettes("ce322e e6dcc8 f0f0e6", "966440 e6dcc8 f0f0e6")),
    Noun("apple", apple, palettes("ce2c2e 50963c f0f0e6", "82be46 468c3c f0f0e6"), tilt=15),
    Noun("banana", banana, palettes("f6d646 c8a032 644628"), tilt=40),
)
