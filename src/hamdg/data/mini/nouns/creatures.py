"""Animals and plants of the wider vocabulary."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.data.mini.geometry import Drawing, Part, arc, blob, box, ellipse, limb, line, polygon
from hamdg.data.mini.nouns.noun import Noun, legs


def _eye(x: float, y: float, size: float = 0.02) -> Part:
    return ellipse(x, y, size, size, "dark", outline=False)


def cat(rng: Generator) -> Drawing:
    """Draw a sitting cat seen from the front."""
    swing, wide = rng.uniform(-0.08, 0.1), rng.uniform(0.17, 0.22)
    parts = [
        limb([(0.12, 0.33), (0.32, 0.28), (0.34 + swing, 0.02)], [0.08, 0.07, 0.05], "second"),
        blob([(-wide, 0.36), (-0.16, 0.05), (0.0, -0.08), (0.16, 0.05), (wide, 0.36), (0, 0.4)], "body"),
    ]
    for side in (-1, 1):
        parts.append(polygon([(side * 0.17, -0.15), (side * 0.16, -0.4), (side * 0.03, -0.28)], "body"))
    parts += [ellipse(0, -0.17, 0.18, 0.15, "body"), ellipse(0, 0.18, 0.08, 0.12, "light", outline=False)]
    parts += [
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
    Noun("cat", cat, (((216, 140, 70), (176, 104, 48), (230, 130, 140)), ((120, 120, 126), (86, 86, 92), (230, 130, 140)), ((52, 48, 50), (70, 66, 70), (230, 130, 140)))),
    Noun("rabbit", rabbit, (((186, 158, 130), (150, 122, 96), (220, 120, 130)), ((228, 226, 224), (196, 192, 190), (220, 120, 130)))),
    Noun("bird", bird, (((70, 130, 200), (44, 84, 140), (240, 170, 50)), ((200, 70, 60), (120, 52, 50), (240, 190, 60)), ((236, 200, 70), (180, 140, 40), (230, 120, 40)))),
    Noun("duck", duck, (((244, 214, 70), (220, 170, 50), (240, 130, 40)), ((238, 238, 236), (204, 204, 206), (240, 150, 50)))),
    Noun("fish", fish, (((240, 140, 50), (250, 240, 230), (60, 60, 60)), ((80, 150, 200), (50, 90, 150), (230, 200, 90))), tilt=12),
    Noun("pig", pig, (((240, 176, 180), (220, 130, 140), (200, 90, 100)),)),
    Noun("snake", snake, (((96, 150, 70), (60, 104, 50), (210, 40, 40)), ((170, 130, 80), (110, 80, 50), (210, 40, 40))), tilt=25),
    Noun("turtle", turtle, (((84, 120, 60), (150, 170, 90), (200, 60, 60)), ((130, 96, 58), (120, 160, 80), (200, 60, 60)))),
    Noun("butterfly", butterfly, (((240, 140, 40), (90, 60, 40), (240, 240, 230)), ((80, 130, 220), (40, 60, 130), (240, 240, 230)), ((200, 90, 170), (120, 50, 110), (240, 240, 230))), tilt=20),
    Noun("spider", spider, (((70, 60, 56), (50, 42, 40), (200, 40, 40)), ((120, 84, 60), (90, 62, 44), (200, 40, 40))), tilt=25),
    Noun("tree", tree, (((70, 140, 60), (110, 76, 48), (200, 60, 50)), ((206, 120, 40), (96, 66, 46), (200, 60, 50)))),
    Noun("flower", flower, (((220, 60, 80), (70, 140, 60), (245, 210, 70)), ((236, 226, 236), (70, 140, 60), (245, 200, 60)), ((150, 90, 200), (60, 130, 60), (245, 210, 70))), tilt=12),
    Noun("cactus", cactus, (((80, 150, 84), (50, 110, 60), (190, 100, 60)),)),
    Noun("mushroom", mushroom, (((206, 50, 46), (230, 220, 200), (240, 240, 230)), ((150, 100, 64), (230, 220, 200), (240, 240, 230)))),
    Noun("apple", apple, (((206, 44, 46), (80, 150, 60), (240, 240, 230)), ((130, 190, 70), (70, 140, 60), (240, 240, 230))), tilt=15),
    Noun("banana", banana, (((246, 214, 70), (200, 160, 50), (100, 70, 40)),), tilt=40),
)  # fmt: skip
