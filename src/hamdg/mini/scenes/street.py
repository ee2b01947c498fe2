"""Draws a street: road and sidewalks, houses, trees, cars, people and poles; the same in all looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numpy.random import Generator

from hamdg.mini.palette import RGB, jittered, mix, scaled
from hamdg.mini.scenes.canvas import IGNORED, Camera, Canvas, View

# The order of Cityscapes, as far as it goes.
CLASSES = ("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car")
ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, SKY, PERSON, CAR = range(len(CLASSES))

FAR = 110.0
_WALLS: tuple[RGB, ...] = (
    (176, 126, 98), (150, 96, 78), (196, 176, 146), (168, 164, 156), (134, 128, 126), (204, 190, 168), (140, 112, 94),
)  # fmt: skip
_PAINTS: tuple[RGB, ...] = (
    (188, 32, 34), (34, 62, 142), (232, 232, 230), (44, 46, 52), (160, 164, 170), (226, 178, 42), (36, 112, 84),
    (108, 30, 52),
)  # fmt: skip
_CLOTHES: tuple[RGB, ...] = (
    (206, 52, 48), (48, 76, 172), (238, 206, 74), (92, 48, 112), (232, 230, 226), (58, 134, 84), (236, 128, 60),
    (44, 44, 50),
)  # fmt: skip
_TROUSERS: tuple[RGB, ...] = ((38, 42, 62), (70, 64, 58), (32, 32, 34), (92, 96, 112))
_SKINS: tuple[RGB, ...] = ((236, 196, 166), (206, 154, 116), (142, 96, 66), (92, 60, 44))
_LEAVES: tuple[RGB, ...] = ((66, 118, 48), (88, 136, 58), (52, 98, 52), (112, 142, 62))
_ASPHALT: RGB = (92, 92, 96)
_PAVING: RGB = (168, 158, 150)
_STEEL: RGB = (78, 82, 86)
_GLASS: RGB = (56, 68, 82)
_DARK: RGB = (28, 28, 30)

# Something that is drawn when its turn comes, the far ones first.
Thing = tuple[float, Callable[[], None]]


class Plan(NamedTuple):
    """The street's layout in meters, measured from the camera to either side (left, right).

    Args:
        curbs: How far away the curbs are.
        walls: How far away the fronts of the houses are.
        lawns: How wide the strips of grass before the houses are.
        light: How bright the houses of each side are, by where the sun is.
    """

    curbs: tuple[float, float]
    walls: tuple[float, float]
    lawns: tuple[float, float]
    light: tuple[float, float]


def draw_street(side: int, rng: Generator) -> View:
    """Return the view of a random street, `side` pixels wide and high."""
    camera = Camera(
        side,
        focal=side * rng.uniform(0.78, 0.92),
        height=rng.uniform(1.45, 2.0),
        center=side * rng.uniform(0.38, 0.62),
        horizon=side * rng.uniform(0.38, 0.47),
    )
    canvas, plan = Canvas(camera, SKY), _plan(rng)
    _horizon(canvas, plan, rng)
    _ground(canvas, plan, rng)
    houses: list[Thing] = []
    things: list[Thing] = []
    for index, sign in enumerate((-1, 1)):
        houses += _houses(canvas, plan, index, sign, rng)
        things += _trees(canvas, plan, index, sign, rng)
        things += _poles(canvas, plan, index, sign, rng)
        things += _parked(canvas, plan, index, sign, rng)
        things += _people(canvas, plan, index, sign, rng)
        things += _bins(canvas, plan, index, sign, rng)
    things += _traffic(canvas, plan, rng)
    # Houses first: nothing stands behind them, however long they are.
    for _, draw in (*sorted(houses, key=_nearness), *sorted(things, key=_nearness)):
        draw()
    hood = side * rng.uniform(0.03, 0.08)
    width = side * rng.uniform(0.36, 0.5)
    middle = side * rng.uniform(0.46, 0.54)
    paint = scaled(_pick(_PAINTS, rng), 0.6)
    canvas.overlay(IGNORED, paint, (middle - width, side - hood, middle + width, side + 3 * hood))
    return canvas.view()


def _nearness(thing: Thing) -> float:
    return -thing[0]


def _plan(rng: Generator) -> Plan:
    curbs = (rng.uniform(2.8, 6.0), rng.uniform(2.4, 4.4))
    paved = (rng.uniform(2.2, 4.4), rng.uniform(2.2, 4.4))
    lawns = (rng.uniform(1.5, 4.0) * (rng.random() < 0.4), rng.uniform(1.5, 4.0) * (rng.random() < 0.4))
    walls = (curbs[0] + paved[0] + lawns[0], curbs[1] + paved[1] + lawns[1])
    bright = rng.random() < 0.5
    return Plan(curbs, walls, lawns, (1.0, 0.72) if bright else (0.72, 1.0))


def _horizon(canvas: Canvas, plan: Plan, rng: Generator) -> None:
    """Draw what closes the street far away: trees or houses."""
    x = -plan.walls[0] - 25
    while x < plan.walls[1] + 25:
        width, height = rng.uniform(4, 12), rng.uniform(4, 11)
        if rng.random() < 0.5:
            canvas.ellipse(VEGETATION, _leaf(rng), (x + width / 2, height / 3), (width * 0.7, height * 0.7), FAR)
        else:
            canvas.box(BUILDING, _wall(rng, 0.85), x, x + width, (0, height), FAR)
        x += width * rng.uniform(0.6, 1.3)


def _ground(canvas: Canvas, plan: Plan, rng: Generator) -> None:
    far, near = 2 * FAR, 1.0
    asphalt, paving = jittered(_ASPHALT, rng, 10), jittered(_PAVING, rng, 12)
    (left, right), walls = plan.curbs, plan.walls

    def strip(label: int, color: RGB, start: float, end: float) -> None:
        canvas.ground(label, color, _corners(start, end, near, far))

    strip(SIDEWALK, paving, -walls[0] - 60, walls[1] + 60)
    for sign, wall, lawn in ((-1, walls[0], plan.lawns[0]), (1, walls[1], plan.lawns[1])):
        if lawn:
            strip(VEGETATION, _leaf(rng), sign * (wall - lawn), sign * (wall + 60))
    strip(ROAD, asphalt, -left, right)
    for sign, curb in ((-1, left), (1, right)):
        strip(SIDEWALK, scaled(paving, 0.78), sign * curb, sign * (curb + 0.22))
    middle, white = (right - left) / 2, mix(asphalt, (238, 236, 228), 0.85)
    z = rng.uniform(0, 4)
    while z < FAR:
        start, end = max(z, near), z + 3
        if end > near:
            canvas.ground(
                ROAD,
                white,
                _corners(middle - 0.09, middle + 0.09, start, end),
            )
        z += 6.5
    if rng.random() < 0.3:
        _zebra(canvas, -left, right, rng.uniform(6, 18), white)


def _corners(left: float, right: float, start: float, end: float) -> list[tuple[float, float]]:
    return [(left, start), (right, start), (right, end), (left, end)]


def _zebra(canvas: Canvas, left: float, right: float, z: float, white: RGB) -> None:
    x = left + 0.4
    while x + 0.5 < right:
        canvas.ground(ROAD, white, _corners(x, x + 0.5, z, z + 3))
        x += 1.0


def _houses(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    x, light = sign * plan.walls[index], plan.light[index]
    things: list[Thing] = []
    z = rng.uniform(-6, 4)
    while z < FAR:
        length, height, color = rng.uniform(6, 18), rng.uniform(5, 17), _wall(rng, light)
        seed = int(rng.integers(1 << 16))

        def draw(
            z: float = z, length: float = length, height: float = height, color: RGB = color, seed: int = seed,
        ) -> None:  # fmt: skip
            if z > 1:
                canvas.box(BUILDING, scaled(color, 0.82), x, x + sign * 14, (0, height), z)
            canvas.along(BUILDING, color, x, (z, z + length), (0, height))
            _windows(canvas, x, (z, z + length), height, mix(color, _GLASS, 0.8), seed)

        things.append((max(z, 0.0) + length / 2, draw))
        z += length + (rng.uniform(2, 9) if rng.random() < 0.35 else 0)
    return things


def _windows(canvas: Canvas, x: float, span: tuple[float, float], height: float, glass: RGB, seed: int) -> None:
    start, end = span
    if start > 40:
        return
    floor = 1.0
    while floor + 1.6 < height:
        bay = start + 0.9
        while bay + 1.2 < end:
            if (int(bay * 7) * 31 + int(floor * 5) * 17 + seed) % 9:
                canvas.along(BUILDING, glass, x, (bay, bay + 1.2), (floor, floor + 1.5))
            bay += 2.6
        floor += 3.0


def _trees(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    things: list[Thing] = []
    if rng.random() < 0.25:
        return things
    z = rng.uniform(5, 14)
    while z < 80:
        x = sign * (plan.curbs[index] + rng.uniform(0.7, 1.2))
        height, radius, leaf = rng.uniform(3.2, 5.5), rng.uniform(1.1, 2.1), _leaf(rng)
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


def _poles(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    things: list[Thing] = []
    z = rng.uniform(4, 12)
    while z < 60:
        x, kind = sign * (plan.curbs[index] + 0.45), rng.random()
        signal: RGB = _pick(((206, 40, 40), (40, 84, 186), (238, 196, 60)), rng)

        def draw(x: float = x, z: float = z, kind: float = kind, signal: RGB = signal) -> None:
            if kind < 0.6:
                canvas.rod(POLE, _STEEL, x, (0, 6.2), z, 0.2)
                canvas.box(POLE, _STEEL, x, x - sign * 1.5, (6.05, 6.25), z)
                canvas.ellipse(POLE, (250, 232, 190), (x - sign * 1.5, 6.0), (0.35, 0.2), z, glow=1.0)
            else:
                canvas.rod(POLE, _STEEL, x, (0, 2.9), z, 0.18)
                canvas.ellipse(POLE, (236, 236, 232), (x, 2.7), (0.46, 0.46), z)
                canvas.ellipse(POLE, signal, (x, 2.7), (0.36, 0.36), z)

        things.append((z, draw))
        z += rng.uniform(9, 22)
    return things


def _parked(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    things: list[Thing] = []
    if rng.random() < 0.3:
        return things
    z, x = rng.uniform(4, 16), sign * (plan.curbs[index] - 1.05)
    while z < 70:
        things.append(_car(canvas, x, z, _pick(_PAINTS, rng), bool(rng.random() < 0.5), rng.uniform(0.92, 1.12)))
        z += rng.uniform(5.5, 22)
    return things


def _traffic(canvas: Canvas, plan: Plan, rng: Generator) -> list[Thing]:
    middle = (plan.curbs[1] - plan.curbs[0]) / 2
    things = []
    for sign in (-1, 1):
        if rng.random() < 0.6:
            z, x = rng.uniform(8, 45), middle + sign * rng.uniform(1.2, 1.7)
            things.append(_car(canvas, x, z, _pick(_PAINTS, rng), sign > 0, rng.uniform(0.95, 1.15)))
    if rng.random() < 0.25:
        x = rng.uniform(-plan.curbs[0], plan.curbs[1])
        things.append(_person(canvas, x, rng.uniform(7, 25), rng))
    return things


def _car(canvas: Canvas, x: float, z: float, paint: RGB, ahead: bool, size: float) -> Thing:
    """Return a car; `ahead`: it is seen from behind."""
    half, length, waist, roof = 0.9 * size, 4.1 * size, 0.88 * size, 1.45 * size
    inner = x - half if x > 0 else x + half
    dark, glass = scaled(paint, 0.72), mix(paint, _GLASS, 0.88)

    def draw() -> None:
        canvas.ground(ROAD, (46, 46, 50), _corners(x - half, x + half, z - 0.2, z + length))
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
        canvas.box(CAR, _DARK, x - half + 0.1, x - half + 0.4, (0.0, 0.35), z)
        canvas.box(CAR, _DARK, x + half - 0.4, x + half - 0.1, (0.0, 0.35), z)
        lamp: RGB = (222, 40, 36) if ahead else (252, 246, 222)
        for side in (-1, 1):
            canvas.ellipse(CAR, lamp, (x + side * 0.75 * half, 0.65 * size), (0.17, 0.11), z, glow=0.9)

    return z, draw


def _top(canvas: Canvas, paint: RGB, x: float, half: float, height: float, span: tuple[float, float]) -> None:
    """Draw the upper side of a part of a car."""
    start, end = span
    corners = [(x - half, height, start), (x + half, height, start), (x + half, height, end), (x - half, height, end)]
    canvas.facet(CAR, paint, corners, start)


def _people(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    things = []
    for _ in range(int(rng.integers(1, 7))):
        x = sign * (plan.curbs[index] + rng.uniform(0.5, plan.walls[index] - plan.curbs[index] - 0.4))
        things.append(_person(canvas, x, 4.5 + 25 * rng.random() ** 1.6, rng))
    return things


def _person(canvas: Canvas, x: float, z: float, rng: Generator) -> Thing:
    height, build, stride = rng.uniform(1.55, 1.9), rng.uniform(0.24, 0.31), rng.uniform(0.02, 0.24)
    shirt, trousers, skin = _pick(_CLOTHES, rng), _pick(_TROUSERS, rng), _pick(_SKINS, rng)

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


def _bins(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    """Return things without a class: bins and boxes on the sidewalk."""
    things: list[Thing] = []
    if rng.random() < 0.5:
        x, z = sign * (plan.curbs[index] + rng.uniform(1.2, 1.9)), rng.uniform(6, 25)
        color = jittered((72, 88, 74), rng, 24)
        things.append((z, lambda: canvas.box(IGNORED, color, x - 0.35, x + 0.35, (0, 1.1), z)))
    return things


def _pick(colors: tuple[RGB, ...], rng: Generator) -> RGB:
    return jittered(colors[int(rng.integers(len(colors)))], rng, 8)


def _wall(rng: Generator, light: float) -> RGB:
    return scaled(jittered(_WALLS[int(rng.integers(len(_WALLS)))], rng, 12), light)


def _leaf(rng: Generator) -> RGB:
    return jittered(_LEAVES[int(rng.integers(len(_LEAVES)))], rng, 10)
