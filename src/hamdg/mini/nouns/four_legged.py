"""The four animals of the benchmark: dog, elephant, giraffe and horse."""

from __future__ import annotations

import math

from numpy.random import Generator

from hamdg.mini.geometry import Drawing, Part, blob, box, ellipse, limb, polygon
from hamdg.mini.nouns.noun import legs


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


def _patches(rng: Generator, centers: list[tuple[float, float, float]]) -> list[Part]:
    parts = []
    for x, y, r in centers:
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
