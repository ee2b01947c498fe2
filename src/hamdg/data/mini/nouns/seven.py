"""The seven classes of the benchmark."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.data.mini.geometry import Drawing, Part, blob, box, ellipse, limb, line, polygon
from hamdg.data.mini.nouns.noun import Noun, leg, legs


def _dog_head(rng: Generator, x: float, y: float) -> list[Part]:
    r, snout, drop = rng.uniform(0.115, 0.14), rng.uniform(0.13, 0.18), rng.uniform(0.0, 0.03)
    tip = (x + 0.08 + snout, y + 0.045 + drop)
    parts = [
        limb([(x + 0.04, y + 0.03), tip], [0.13, 0.085], "body"),
        ellipse(x, y, r, r * 0.95, "body"),
        ellipse(tip[0] + 0.03, tip[1] - 0.03, 0.03, 0.026, "dark", outline=False),
        ellipse(x + 0.05, y - 0.035, 0.018, 0.02, "dark", outline=False),
    ]
    if rng.random() < 0.4:
        parts.insert(0, limb([(tip[0] - 0.05, tip[1] + 0.03), (tip[0] - 0.045, tip[1] + 0.1)], [0.04, 0.045], "accent"))
    if rng.random() < 0.75:
        ear = limb([(x - 0.04, y - 0.1), (x - 0.1, y - 0.02), (x - 0.085, y + 0.11)], [0.06, 0.1, 0.07], "second")
    else:
        ear = polygon([(x - 0.1, y - 0.05), (x - 0.075, y - 0.23), (x + 0.02, y - 0.1)], "second")
    return [*parts, ear]


def dog(rng: Generator) -> Drawing:
    """Draw a dog, standing with its tail up or sitting."""
    tail_up, wag = rng.uniform(0.14, 0.26), rng.uniform(-0.08, 0.1)
    if rng.random() < 0.3:
        parts = [
            limb([(-0.2, 0.3), (-0.33, 0.26), (-0.38 + wag, 0.12)], [0.07, 0.06, 0.035], "body"),
            limb([(0.1, 0.0), (0.13, 0.36)], [0.09, 0.065], "far"),
            limb([(-0.12, 0.22), (0.0, 0.02), (0.09, -0.14)], [0.3, 0.27, 0.17], "body"),
            ellipse(-0.12, 0.24, 0.15, 0.13, "body"),
            limb([(-0.08, 0.36), (0.04, 0.36)], [0.07, 0.07], "body"),
            limb([(0.06, 0.02), (0.07, 0.36)], [0.1, 0.07], "body"),
            limb([(0.03, -0.1), (0.17, -0.08)], [0.05, 0.05], "accent"),
        ]
        return tuple(parts + _dog_head(rng, 0.14, -0.24))
    length, thick, leg_length = rng.uniform(0.22, 0.28), rng.uniform(0.21, 0.27), rng.uniform(0.19, 0.27)
    far, near = legs(rng, (-length + 0.05, length - 0.06), 0.02, leg_length + 0.05, 0.068, hoof=False)
    tail = limb(
        [(-length, -0.05), (-length - 0.1, -0.07 - tail_up / 2), (-length - 0.09 + wag, -0.1 - tail_up)],
        [0.06, 0.055, 0.03],
        "body",
    )
    parts = [
        *far,
        tail,
        limb([(-length + 0.03, 0.0), (0.0, 0.01), (length - 0.04, -0.02)], [thick, thick * 0.86, thick * 1.05], "body"),
    ]
    if rng.random() < 0.5:
        parts.append(ellipse(-0.1, -0.04, 0.1, 0.065, "second", outline=False))
    parts += near
    parts.append(limb([(length - 0.06, -0.04), (length + 0.02, -0.16)], [0.19, 0.14], "body"))
    parts.append(limb([(length - 0.07, -0.13), (length + 0.09, -0.08)], [0.045, 0.045], "accent"))
    return tuple(parts + _dog_head(rng, length + 0.06, -0.22 - rng.uniform(0, 0.05)))


def _trunk(rng: Generator) -> Part:
    if rng.random() < 0.3:
        spine = [(0.47, -0.06), (0.62, 0.03), (0.7, -0.1), (0.68 + rng.uniform(-0.04, 0.06), -0.27)]
    else:
        curl = rng.uniform(-0.06, 0.1)
        spine = [(0.47, -0.06), (0.565, 0.1), (0.56, 0.27), (0.58 + curl, 0.38)]
    return limb(spine, [0.17, 0.12, 0.085, 0.06], "body")


def elephant(rng: Generator) -> Drawing:
    """Draw an elephant with its trunk down or raised."""
    thick, leg_length = rng.uniform(0.46, 0.54), rng.uniform(0.27, 0.34)
    far, near = legs(rng, (-0.24, 0.2), 0.08, leg_length + 0.06, 0.135, hoof=False)
    ear_w, ear_h = rng.uniform(0.12, 0.16), rng.uniform(0.17, 0.22)
    ear = [
        (0.33, -0.26), (0.33 - ear_w, -0.3), (0.3 - 1.7 * ear_w, -0.2), (0.3 - 1.5 * ear_w, -0.02),
        (0.32 - 0.8 * ear_w, -0.14 + ear_h), (0.35, -0.03),
    ]  # fmt: skip
    parts = [
        *far,
        limb([(-0.36, -0.1), (-0.44, 0.04), (-0.43, 0.17)], [0.04, 0.03, 0.04], "far"),
        blob(
            [
                (-0.38, 0.0),
                (-0.33, -0.2),
                (-0.1, -thick / 2 - 0.04),
                (0.16, -0.24),
                (0.3, -0.1),
                (0.28, 0.14),
                (0.0, 0.2),
                (-0.28, 0.18),
            ],
            "body",
        ),
        *near,
        _trunk(rng),
        ellipse(0.38, -0.14, 0.17, rng.uniform(0.17, 0.2), "body"),
    ]
    if rng.random() < 0.75:
        parts.append(limb([(0.46, 0.02), (0.55, 0.09), (0.64, 0.06)], [0.05, 0.042, 0.02], "light"))
    parts += [blob(ear, "second"), ellipse(0.45, -0.17, 0.018, 0.02, "dark", outline=False)]
    return tuple(parts)


def _patches(rng: Generator, centres: list[tuple[float, float, float]]) -> list[Part]:
    parts = []
    for x, y, r in centres:
        start, count = rng.uniform(0, 2 * math.pi), 6
        radii = r * rng.uniform(0.75, 1.15, count)
        corners = [
            (
                x + radii[k] * math.cos(start + k * 2 * math.pi / count),
                y + radii[k] * math.sin(start + k * 2 * math.pi / count),
            )
            for k in range(count)
        ]
        parts.append(polygon(corners, "second", outline=False))
    return parts


def giraffe(rng: Generator) -> Drawing:
    """Draw a giraffe: neck, horns and patches."""
    reach, lean, leg_length = rng.uniform(0.46, 0.6), rng.uniform(0.1, 0.24), rng.uniform(0.38, 0.46)
    far, near = legs(rng, (-0.16, 0.16), 0.03, leg_length, 0.052, hoof=True)
    base, top = (0.15, -0.06), (0.17 + lean, -0.1 - reach)
    hx, hy = top
    spots = [(-0.15, -0.01, 0.05), (-0.04, 0.03, 0.045), (-0.07, -0.07, 0.042), (0.05, -0.05, 0.05), (0.15, 0.02, 0.05)]
    for k in range(5):
        t = 0.08 + 0.19 * k
        side = 0.018 if k % 2 else -0.018
        spots.append((base[0] + (hx - base[0]) * t + side, base[1] + (hy - base[1]) * t, 0.044 - 0.004 * k))
    horns = [
        limb([(hx - 0.01 + dx, hy - 0.02), (hx - 0.03 + dx, hy - 0.115)], [0.025, 0.03], "second") for dx in (0.0, 0.06)
    ]
    parts = [
        *far,
        limb([(-0.2, -0.04), (-0.27, 0.06), (-0.26, 0.19)], [0.025, 0.02, 0.05], "second"),
        blob(
            [
                (-0.23, 0.0),
                (-0.17, -0.11),
                (0.02, -0.14),
                (0.18, -0.2),
                (0.25, -0.06),
                (0.2, 0.1),
                (0.0, 0.12),
                (-0.17, 0.11),
            ],
            "body",
        ),
        *near,
        limb([(base[0] - 0.08, base[1] - 0.06), (hx - 0.06, hy + 0.05)], [0.05, 0.03], "second"),
        limb([base, ((base[0] + hx) / 2 + 0.01, (base[1] + hy) / 2), top], [0.19, 0.115, 0.085], "body"),
        *_patches(rng, spots),
        *horns,
        limb([(hx - 0.06, hy + 0.0), (hx - 0.14, hy - 0.03)], [0.04, 0.02], "body"),
        limb([(hx, hy), (hx + 0.17, hy + 0.075)], [0.115, 0.07], "body"),
        ellipse(hx + 0.045, hy - 0.005, 0.015, 0.017, "dark", outline=False),
    ]
    return tuple(parts)


def guitar(rng: Generator) -> Drawing:
    """Draw an acoustic or an electric guitar, upright (the pose turns it)."""
    lower, waist, upper, neck = (
        rng.uniform(0.19, 0.23),
        rng.uniform(0.11, 0.135),
        rng.uniform(0.15, 0.17),
        rng.uniform(0.42, 0.5),
    )
    top = -0.2 - neck
    handle = [box(-0.03, top, 0.06, neck + 0.06, "second")]
    handle += [line([(-0.03, top + 0.08 * k), (0.03, top + 0.08 * k)], "light", 0.01) for k in range(1, 5)]
    handle.append(polygon([(-0.035, top), (-0.06, top - 0.13), (0.06, top - 0.13), (0.035, top)], "second"))
    pegs = [
        ellipse(side * 0.075, top - 0.03 - 0.04 * k, 0.016, 0.013, "light", outline=False)
        for side in (-1, 1)
        for k in range(3)
    ]
    strings = [line([(x, 0.17), (x, top)], "light", 0.008) for x in (-0.014, 0.014)]
    if rng.random() < 0.65:
        contour = [
            (0, -0.2),
            (upper * 0.8, -0.17),
            (upper, -0.07),
            (waist, 0.03),
            (lower, 0.16),
            (lower * 0.8, 0.28),
            (0, 0.33),
        ]
        shape = blob(contour + [(-x, y) for x, y in contour[-2:0:-1]], "body")
        details = [ellipse(0, 0.02, 0.075, 0.075, "dark"), box(-0.075, 0.16, 0.15, 0.035, "dark", outline=False)]
        return tuple([shape, details[0], *handle, *pegs, details[1], *strings])
    horn = rng.uniform(0.2, 0.26)
    contour = [(0.03, -0.1), (0.12, -horn), (0.17, -0.1), (waist, 0.03), (lower, 0.17), (0.12, 0.29), (-0.05, 0.31),
               (-lower, 0.2), (-waist, 0.03), (-0.18, -0.12), (-0.13, -horn + 0.02), (-0.03, -0.1)]  # fmt: skip
    plate = blob([(0.0, -0.06), (0.1, -0.08), (0.09, 0.05), (0.12, 0.18), (0.0, 0.16)], "accent", outline=False)
    pickups = [box(-0.06, y, 0.12, 0.03, "dark", outline=False) for y in (-0.02, 0.07, 0.17)]
    return tuple([blob(contour, "body"), plate, *handle, *pegs, *pickups, *strings])


def horse(rng: Generator) -> Drawing:
    """Draw a horse: long legs, arched neck, mane and a hanging tail."""
    leg_length, neck, forward = rng.uniform(0.33, 0.4), rng.uniform(0.26, 0.33), rng.uniform(0.12, 0.2)
    far, near = legs(rng, (-0.23, 0.2), 0.02, leg_length + 0.05, 0.058, hoof=True)
    hx, hy = 0.25 + forward, -0.06 - neck
    down = rng.uniform(0.1, 0.17)
    sway = rng.uniform(-0.06, 0.04)
    parts = [
        *far,
        limb(
            [(-0.28, -0.07), (-0.39, -0.02), (-0.41 + sway, 0.14), (-0.39 + sway, 0.27)],
            [0.05, 0.09, 0.1, 0.04],
            "second",
        ),
        blob(
            [
                (-0.32, -0.03),
                (-0.27, -0.15),
                (-0.08, -0.12),
                (0.12, -0.15),
                (0.28, -0.1),
                (0.3, 0.04),
                (0.15, 0.12),
                (-0.08, 0.1),
                (-0.25, 0.13),
            ],
            "body",
        ),
        *near,
        polygon([(hx - 0.02, hy - 0.03), (hx - 0.02, hy - 0.13), (hx + 0.045, hy - 0.04)], "body"),
        limb([(0.2, -0.02), (0.25 + forward * 0.45, -0.02 - neck * 0.5), (hx, hy)], [0.27, 0.17, 0.12], "body"),
        limb(
            [(0.07, -0.14), (0.14 + forward * 0.4, -0.11 - neck * 0.5), (hx - 0.06, hy - 0.03), (hx + 0.02, hy - 0.04)],
            [0.05, 0.09, 0.075, 0.05],
            "second",
        ),
        limb([(hx, hy), (hx + 0.1, hy + down * 0.6), (hx + 0.17, hy + down)], [0.135, 0.105, 0.085], "body"),
        ellipse(hx + 0.035, hy + 0.005, 0.016, 0.018, "dark", outline=False),
        ellipse(hx + 0.185, hy + down, 0.012, 0.014, "dark", outline=False),
    ]
    if rng.random() < 0.3:
        parts.append(box(-0.11, -0.15, 0.17, 0.1, "accent"))
    return tuple(parts)


def house(rng: Generator) -> Drawing:
    """Draw a house: walls, roof, door, windows, often a chimney."""
    width, height, roof = rng.uniform(0.5, 0.72), rng.uniform(0.28, 0.46), rng.uniform(0.2, 0.32)
    left, right, eaves = -width / 2, width / 2, rng.uniform(0.03, 0.08)
    parts = []
    if rng.random() < 0.75:
        side = rng.choice([-0.28, 0.22]) * width
        parts.append(box(side, -roof - 0.06, 0.085, roof + 0.04, "far"))
    inset = rng.choice([0.0, 0.0, 0.22]) * width
    ridge = [(-inset, -roof), (inset, -roof)] if inset else [(0.0, -roof)]
    parts += [
        box(left, 0, width, height, "body"),
        polygon([(left - eaves, 0.02), *ridge, (right + eaves, 0.02)], "accent"),
    ]
    door = left + width * rng.choice([0.14, 0.4, 0.64])
    door_height = min(0.24, height * 0.72)
    parts += [
        box(door, height - door_height, 0.13, door_height, "second"),
        ellipse(door + 0.1, height - door_height / 2, 0.014, 0.014, "light", outline=False),
    ]
    size = min(0.13, height * 0.42)
    rows = [0.05] if height < 0.36 else [0.04, 0.06 + size]
    for y in rows:
        for x in (left + width * 0.12, left + width * 0.42, right - width * 0.12 - size):
            if y + size < height - door_height or abs(x + size / 2 - door - 0.065) > 0.07 + size / 2:
                parts += [
                    box(x, y, size, size, "light"),
                    line([(x + size / 2, y), (x + size / 2, y + size)], "dark", 0.012),
                ]
    if rng.random() < 0.4 and not inset:
        parts.append(ellipse(0, -roof * 0.42, 0.05, 0.05, "light"))
    return tuple(parts)


def _arm(rng: Generator, side: int, shoulder: float) -> list[Part]:
    kind = rng.random()
    out, y = rng.uniform(0.04, 0.12), 0.0
    if kind < 0.25:
        hand = (side * (shoulder + 0.14), -0.22)
        elbow = (side * (shoulder + 0.15), -0.04)
    else:
        elbow, hand = (side * (shoulder + out), 0.13), (side * (shoulder + out * rng.uniform(0.4, 1.5)), 0.27)
    return [
        limb([(side * shoulder * 0.86, y + 0.03), elbow, hand], [0.085, 0.07, 0.06], "body"),
        ellipse(*hand, 0.035, 0.035, "accent"),
    ]


def person(rng: Generator) -> Drawing:
    """Draw a standing or walking person, in trousers or a dress."""
    shoulder, hip, torso, leg_length = (
        rng.uniform(0.12, 0.15),
        rng.uniform(0.09, 0.12),
        rng.uniform(0.29, 0.35),
        rng.uniform(0.34, 0.42),
    )
    stride, head = rng.uniform(0.0, 0.13), rng.uniform(0.085, 0.105)
    hair_long, dress = rng.random() < 0.4, rng.random() < 0.3
    parts: list[Part] = []
    hy = -0.08 - head
    if hair_long:
        parts.append(
            blob(
                [
                    (-head * 1.15, hy - 0.02),
                    (0, hy - head * 1.3),
                    (head * 1.15, hy - 0.02),
                    (head * 1.2, 0.05),
                    (-head * 1.2, 0.05),
                ],
                "dark",
            )
        )
    for side in (-1, 1):
        foot = (side * (hip * 0.55 + stride), torso + leg_length)
        parts.append(
            limb([(side * hip * 0.5, torso - 0.02), foot], [0.1, 0.075], "accent" if dress else "second", cap=0)
        )
        parts.append(ellipse(foot[0] + side * 0.025, foot[1] + 0.005, 0.06, 0.03, "dark"))
    parts += _arm(rng, -1, shoulder) + _arm(rng, 1, shoulder)
    if dress:
        hem = rng.uniform(0.19, 0.24)
        parts.append(
            polygon(
                [
                    (-shoulder, 0),
                    (shoulder, 0),
                    (hip * 0.8, torso * 0.6),
                    (hem, torso + 0.14),
                    (-hem, torso + 0.14),
                    (-hip * 0.8, torso * 0.6),
                ],
                "body",
            )
        )
    else:
        parts.append(polygon([(-shoulder, 0.0), (shoulder, 0.0), (hip, torso), (-hip, torso)], "body"))
    parts += [limb([(0, -0.07), (0, 0.0)], [0.07, 0.07], "accent"), ellipse(0, hy, head * 0.9, head, "accent")]
    parts.append(
        blob(
            [
                (-head, hy),
                (-head * 0.8, hy - head * 0.9),
                (0, hy - head * 1.25),
                (head * 0.8, hy - head * 0.9),
                (head, hy),
                (head * 0.5, hy - head * 0.5),
                (-head * 0.5, hy - head * 0.5),
            ],
            "dark",
        )
    )
    parts += [ellipse(side * head * 0.38, hy + 0.005, 0.012, 0.015, "dark", outline=False) for side in (-1, 1)]
    return tuple(parts)


SEVEN: tuple[Noun, ...] = (
    Noun("dog", dog, (((150, 98, 55), (92, 58, 34), (200, 50, 50)), ((216, 186, 138), (160, 112, 66), (60, 90, 190)), ((236, 230, 220), (110, 76, 52), (200, 50, 50)), ((84, 72, 66), (46, 40, 38), (220, 120, 60)))),
    Noun("elephant", elephant, (((140, 142, 150), (112, 112, 122), (200, 60, 60)), ((158, 150, 146), (128, 116, 114), (200, 60, 60)), ((112, 118, 132), (140, 144, 156), (200, 60, 60)))),
    Noun("giraffe", giraffe, (((232, 194, 112), (150, 92, 40), (200, 60, 60)), ((240, 214, 150), (168, 104, 52), (200, 60, 60)), ((222, 176, 96), (120, 70, 34), (200, 60, 60))), tilt=5),
    Noun("guitar", guitar, (((196, 120, 50), (90, 56, 34), (240, 236, 226)), ((222, 164, 88), (76, 50, 36), (60, 50, 46)), ((176, 44, 40), (104, 70, 46), (240, 236, 226)), ((62, 84, 150), (120, 84, 54), (240, 236, 226))), tilt=55),
    Noun("horse", horse, (((140, 84, 48), (52, 36, 30), (180, 50, 50)), ((176, 118, 66), (234, 216, 180), (60, 80, 170)), ((92, 62, 48), (36, 28, 26), (180, 50, 50)), ((226, 222, 216), (168, 164, 160), (180, 50, 50))), tilt=5),
    Noun("house", house, (((232, 214, 176), (120, 76, 48), (176, 70, 54)), ((214, 136, 104), (96, 66, 52), (110, 74, 66)), ((238, 236, 230), (70, 96, 130), (92, 98, 112)), ((178, 196, 172), (126, 82, 56), (140, 66, 52))), tilt=3),
    Noun("person", person, (((196, 56, 56), (56, 70, 120), (232, 186, 152)), ((64, 110, 176), (70, 66, 64), (206, 152, 112)), ((86, 148, 84), (120, 96, 70), (150, 100, 68)), ((232, 190, 74), (60, 84, 130), (240, 200, 170)), ((140, 86, 158), (58, 56, 66), (120, 78, 54))), tilt=4),
)  # fmt: skip
