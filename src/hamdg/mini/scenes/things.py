"""What stands in a street: trees, poles, cars, people and bins, each drawn when its turn comes, the far ones first."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from hamdg.mini.palette import RGB, jittered, mix, scaled
from hamdg.mini.scenes.canvas import IGNORED, Canvas
from hamdg.mini.scenes.colors import CLOTHES, DARK, GLASS, PAINTS, SKINS, STEEL, TROUSERS, leaf_color, pick
from hamdg.mini.scenes.layout import CAR, PERSON, POLE, ROAD, VEGETATION, Plan

# Something that is drawn when its turn comes, the far ones first.
Thing = tuple[float, Callable[[], None]]


def trees(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return the trees of one side of the street.

    Args:
        canvas: What they will be drawn on.
        plan: The street's layout.
        index: The side in it: 0 left, 1 right.
        sign: On which side of the camera that is: -1 or 1.
        rng: Draws where they stand and how they look.
    """
    things: list[Thing] = []
    if rng.random() < 0.25:
        return things
    z = rng.uniform(5, 14)
    while z < 80:
        x = sign * (plan.curbs[index] + rng.uniform(0.7, 1.2))
        height, radius, leaf = rng.uniform(3.2, 5.5), rng.uniform(1.1, 2.1), leaf_color(rng)
        blobs = [(rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.7), rng.uniform(0.6, 0.95)) for _ in range(5)]

        def draw(
            x: float = x, z: float = z, height: float = height, radius: float = radius, leaf: RGB = leaf,
            blobs: list[tuple[float, float, float]] = blobs,
        ) -> None:  # fmt: skip
            canvas.rod(VEGETATION, (88, 66, 48), x, (0, height), z, 0.28)
            for place, (dx, dy, size) in enumerate(blobs):
                shade = scaled(leaf, 0.82 + 0.09 * place)
                middle, radii = (x + dx * radius, height + dy * radius), (size * radius, size * radius * 0.9)
                canvas.ellipse(VEGETATION, shade, middle, radii, z)

        things.append((z, draw))
        z += rng.uniform(6, 20)
    return things


def poles(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return the lamps and signs of one side of the street, as `trees` does."""
    things: list[Thing] = []
    z = rng.uniform(4, 12)
    while z < 60:
        x, kind = sign * (plan.curbs[index] + 0.45), rng.random()
        signal: RGB = pick(((206, 40, 40), (40, 84, 186), (238, 196, 60)), rng)

        def draw(x: float = x, z: float = z, kind: float = kind, signal: RGB = signal) -> None:
            if kind < 0.6:
                canvas.rod(POLE, STEEL, x, (0, 6.2), z, 0.2)
                canvas.box(POLE, STEEL, x, x - sign * 1.5, (6.05, 6.25), z)
                canvas.ellipse(POLE, (250, 232, 190), (x - sign * 1.5, 6.0), (0.35, 0.2), z, glow=1.0)
            else:
                canvas.rod(POLE, STEEL, x, (0, 2.9), z, 0.18)
                canvas.ellipse(POLE, (236, 236, 232), (x, 2.7), (0.46, 0.46), z)
                canvas.ellipse(POLE, signal, (x, 2.7), (0.36, 0.36), z)

        things.append((z, draw))
        z += rng.uniform(9, 22)
    return things


def parked(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return the parked cars of one side of the street, as `trees` does."""
    things: list[Thing] = []
    if rng.random() < 0.3:
        return things
    z, x = rng.uniform(4, 16), sign * (plan.curbs[index] - 1.05)
    while z < 70:
        things.append(_car(canvas, x, z, pick(PAINTS, rng), bool(rng.random() < 0.5), rng.uniform(0.92, 1.12)))
        z += rng.uniform(5.5, 22)
    return things


def traffic(canvas: Canvas, plan: Plan, rng: Generator) -> list[Thing]:
    """Return who is on the road: cars, and people who cross it."""
    middle = (plan.curbs[1] - plan.curbs[0]) / 2
    things = []
    for sign in (-1, 1):
        if rng.random() < 0.6:
            z, x = rng.uniform(8, 45), middle + sign * rng.uniform(1.2, 1.7)
            things.append(_car(canvas, x, z, pick(PAINTS, rng), sign > 0, rng.uniform(0.95, 1.15)))
    if rng.random() < 0.25:
        x = rng.uniform(-plan.curbs[0], plan.curbs[1])
        things.append(_person(canvas, x, rng.uniform(7, 25), rng))
    return things


def _car(canvas: Canvas, x: float, z: float, paint: RGB, ahead: bool, size: float) -> Thing:
    """Return a car; `ahead`: it is seen from behind."""
    half, length, waist, roof = 0.9 * size, 4.1 * size, 0.88 * size, 1.45 * size
    inner = x - half if x > 0 else x + half
    dark, glass = scaled(paint, 0.72), mix(paint, GLASS, 0.88)

    def draw() -> None:
        canvas.ground(ROAD, (46, 46, 50), corners(x - half, x + half, z - 0.2, z + length))
        back = z + length
        canvas.along(CAR, dark, inner, (z, back), (0.25, waist))
        canvas.along(CAR, scaled(glass, 0.8), inner * 0.98, (z + 0.25 * length, z + 0.8 * length), (waist, roof))
        cabin, far = 0.78 * half, z + 0.25 * length
        _top(canvas, scaled(paint, 1.08), x, half, waist, (z, back))
        _top(canvas, scaled(paint, 1.1), x, 0.85 * cabin, roof, (far, z + 0.8 * length))
        canvas.upright(
            CAR, scaled(paint, 0.9), [(x - cabin, waist), (x + cabin, waist), (x + 0.85 * cabin, roof),
                                      (x - 0.85 * cabin, roof)], far,
        )  # fmt: skip
        canvas.upright(
            CAR, glass, [(x - 0.9 * cabin, waist), (x + 0.9 * cabin, waist), (x + 0.75 * cabin, roof - 0.12),
                         (x - 0.75 * cabin, roof - 0.12)], far,
        )  # fmt: skip
        canvas.box(CAR, paint, x - half, x + half, (0.25, waist), z)
        canvas.box(CAR, DARK, x - half + 0.1, x - half + 0.4, (0.0, 0.35), z)
        canvas.box(CAR, DARK, x + half - 0.4, x + half - 0.1, (0.0, 0.35), z)
        lamp: RGB = (222, 40, 36) if ahead else (252, 246, 222)
        for side in (-1, 1):
            canvas.ellipse(CAR, lamp, (x + side * 0.75 * half, 0.65 * size), (0.17, 0.11), z, glow=0.9)

    return z, draw


def _top(canvas: Canvas, paint: RGB, x: float, half: float, height: float, span: tuple[float, float]) -> None:
    """Draw the upper side of a part of a car."""
    start, end = span
    corners = [(x - half, height, start), (x + half, height, start), (x + half, height, end), (x - half, height, end)]
    canvas.facet(CAR, paint, corners, start)


def people(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return the people of one side of the street, as `trees` does."""
    things = []
    for _ in range(int(rng.integers(1, 7))):
        x = sign * (plan.curbs[index] + rng.uniform(0.5, plan.walls[index] - plan.curbs[index] - 0.4))
        things.append(_person(canvas, x, 4.5 + 25 * rng.random() ** 1.6, rng))
    return things


def _person(canvas: Canvas, x: float, z: float, rng: Generator) -> Thing:
    height, build, stride = rng.uniform(1.55, 1.9), rng.uniform(0.24, 0.31), rng.uniform(0.02, 0.24)
    shirt, trousers, skin = pick(CLOTHES, rng), pick(TROUSERS, rng), pick(SKINS, rng)

    def draw() -> None:
        hips, shoulders = 0.5 * height, 0.83 * height
        for side in (-1, 1):
            foot = x + side * (0.09 + stride)
            top = x + side * 0.1
            legs = [(foot - 0.09, 0.0), (foot + 0.09, 0.0), (top + 0.11, hips), (top - 0.11, hips)]
            canvas.upright(PERSON, trousers, legs, z)
        body = [(x - build * 0.8, hips * 0.95), (x + build * 0.8, hips * 0.95), (x + build, shoulders),
                (x - build, shoulders)]  # fmt: skip
        canvas.upright(PERSON, shirt, body, z)
        canvas.ellipse(PERSON, skin, (x, 0.92 * height), (0.12, 0.14), z)

    return z, draw


def bins(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return what has no class on one side of the street: bins and boxes, as `trees` does."""
    things: list[Thing] = []
    if rng.random() < 0.5:
        x, z = sign * (plan.curbs[index] + rng.uniform(1.2, 1.9)), rng.uniform(6, 25)
        color = jittered((72, 88, 74), rng, 24)
        things.append((z, lambda: canvas.box(IGNORED, color, x - 0.35, x + 0.35, (0, 1.1), z)))
    return things


def corners(left: float, right: float, start: float, end: float) -> list[tuple[float, float]]:
    """Return the corners of a part of the ground, as (to the right, ahead)."""
    return [(left, start), (right, start), (right, end), (left, end)]
