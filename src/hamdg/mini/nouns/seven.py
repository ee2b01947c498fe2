"""The seven classes of the benchmark."""

from __future__ import annotations

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, Part, blob, box, ellipse, limb, line, polygon
from hamdg.mini.nouns.four_legged import dog, elephant, giraffe, horse
from hamdg.mini.nouns.noun import Noun, palettes


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
        return (shape, details[0], *handle, *pegs, details[1], *strings)
    horn = rng.uniform(0.2, 0.26)
    contour = [(0.03, -0.1), (0.12, -horn), (0.17, -0.1), (waist, 0.03), (lower, 0.17), (0.12, 0.29), (-0.05, 0.31),
               (-lower, 0.2), (-waist, 0.03), (-0.18, -0.12), (-0.13, -horn + 0.02), (-0.03, -0.1)]  # fmt: skip
    plate = blob([(0.0, -0.06), (0.1, -0.08), (0.09, 0.05), (0.12, 0.18), (0.0, 0.16)], "accent", outline=False)
    pickups = [box(-0.06, y, 0.12, 0.03, "dark", outline=False) for y in (-0.02, 0.07, 0.17)]
    return (blob(contour, "body"), plate, *handle, *pegs, *pickups, *strings)


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
    Noun(
        "dog",
        dog,
        palettes("966237 5c3a22 c83232", "d8ba8a a07042 3c5abe", "ece6dc 6e4c34 c83232", "544842 2e2826 dc783c"),
    ),
    Noun("elephant", elephant, palettes("8c8e96 70707a c83c3c", "9e9692 807472 c83c3c", "707684 8c909c c83c3c")),
    Noun("giraffe", giraffe, palettes("e8c270 965c28 c83c3c", "f0d696 a86834 c83c3c", "deb060 784622 c83c3c"), tilt=5),
    Noun(
        "guitar",
        guitar,
        palettes("c47832 5a3822 f0ece2", "dea458 4c3224 3c322e", "b02c28 68462e f0ece2", "3e5496 785436 f0ece2"),
        tilt=55,
    ),
    Noun(
        "horse",
        horse,
        palettes("8c5430 34241e b43232", "b07642 ead8b4 3c50aa", "5c3e30 241c1a b43232", "e2ded8 a8a4a0 b43232"),
        tilt=5,
    ),
    Noun(
        "house",
        house,
        palettes("e8d6b0 784c30 b04636", "d68868 604234 6e4a42", "eeece6 466082 5c6270", "b2c4ac 7e5238 8c4234"),
        tilt=3,
    ),
    Noun(
        "person",
        person,
        palettes(
            "c43838 384678 e8ba98",
            "406eb0 464240 ce9870",
            "569454 786046 966444",
            "e8be4a 3c5482 f0c8aa",
            "8c569e 3a3842 784e36",
        ),
        tilt=4,
    ),
)
