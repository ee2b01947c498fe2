"""Draws a street: road and sidewalks, houses, and what stands before them; the same in all looks."""

from __future__ import annotations

from numpy.random import Generator

from hamdg.mini.palette import RGB, jittered, mix, scaled
from hamdg.mini.scenes.canvas import IGNORED, Camera, Canvas, View
from hamdg.mini.scenes.colors import ASPHALT, GLASS, PAINTS, PAVING, leaf_color, pick, wall_color
from hamdg.mini.scenes.layout import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION, Plan, drawn_plan
from hamdg.mini.scenes.things import Thing, bins, corners, parked, people, poles, traffic, trees

FAR = 110.0


def draw_street(side: int, rng: Generator) -> View:
    """Return the view of a random street, `side` pixels wide and high."""
    camera = Camera(
        side,
        focal=side * rng.uniform(0.78, 0.92),
        height=rng.uniform(1.45, 2.0),
        center=side * rng.uniform(0.38, 0.62),
        horizon=side * rng.uniform(0.38, 0.47),
    )
    canvas, plan = Canvas(camera, SKY), drawn_plan(rng)
    _horizon(canvas, plan, rng)
    _ground(canvas, plan, rng)
    houses: list[Thing] = []
    things: list[Thing] = []
    for index, sign in enumerate((-1, 1)):
        houses += _houses(canvas, plan, index, sign, rng)
        things += trees(canvas, plan, index, sign, rng)
        things += poles(canvas, plan, index, sign, rng)
        things += parked(canvas, plan, index, sign, rng)
        things += people(canvas, plan, index, sign, rng)
        things += bins(canvas, plan, index, sign, rng)
    things += traffic(canvas, plan, rng)
    # Houses first: nothing stands behind them, however long they are.
    for _, draw in (*sorted(houses, key=_nearness), *sorted(things, key=_nearness)):
        draw()
    hood = side * rng.uniform(0.03, 0.08)
    width = side * rng.uniform(0.36, 0.5)
    middle = side * rng.uniform(0.46, 0.54)
    paint = scaled(pick(PAINTS, rng), 0.6)
    canvas.overlay(IGNORED, paint, (middle - width, side - hood, middle + width, side + 3 * hood))
    return canvas.view()


def _nearness(thing: Thing) -> float:
    return -thing[0]


def _horizon(canvas: Canvas, plan: Plan, rng: Generator) -> None:
    """Draw what closes the street far away: trees or houses."""
    x = -plan.walls[0] - 25
    while x < plan.walls[1] + 25:
        width, height = rng.uniform(4, 12), rng.uniform(4, 11)
        if rng.random() < 0.5:
            canvas.ellipse(VEGETATION, leaf_color(rng), (x + width / 2, height / 3), (width * 0.7, height * 0.7), FAR)
        else:
            canvas.box(BUILDING, wall_color(rng, 0.85), x, x + width, (0, height), FAR)
        x += width * rng.uniform(0.6, 1.3)


def _ground(canvas: Canvas, plan: Plan, rng: Generator) -> None:
    far, near = 2 * FAR, 1.0
    asphalt, paving = jittered(ASPHALT, rng, 10), jittered(PAVING, rng, 12)
    (left, right), walls = plan.curbs, plan.walls

    def strip(label: int, color: RGB, start: float, end: float) -> None:
        canvas.ground(label, color, corners(start, end, near, far))

    strip(SIDEWALK, paving, -walls[0] - 60, walls[1] + 60)
    for sign, wall, lawn in ((-1, walls[0], plan.lawns[0]), (1, walls[1], plan.lawns[1])):
        if lawn:
            strip(VEGETATION, leaf_color(rng), sign * (wall - lawn), sign * (wall + 60))
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
                corners(middle - 0.09, middle + 0.09, start, end),
            )
        z += 6.5
    if rng.random() < 0.3:
        _zebra(canvas, -left, right, rng.uniform(6, 18), white)


def _zebra(canvas: Canvas, left: float, right: float, z: float, white: RGB) -> None:
    x = left + 0.4
    while x + 0.5 < right:
        canvas.ground(ROAD, white, corners(x, x + 0.5, z, z + 3))
        x += 1.0


def _houses(canvas: Canvas, plan: Plan, index: int, sign: int, rng: Generator) -> list[Thing]:
    x, light = sign * plan.walls[index], plan.light[index]
    things: list[Thing] = []
    z = rng.uniform(-6, 4)
    while z < FAR:
        length, height, color = rng.uniform(6, 18), rng.uniform(5, 17), wall_color(rng, light)
        seed = int(rng.integers(1 << 16))

        def draw(
            z: float = z, length: float = length, height: float = height, color: RGB = color, seed: int = seed,
        ) -> None:  # fmt: skip
            if z > 1:
                canvas.box(BUILDING, scaled(color, 0.82), x, x + sign * 14, (0, height), z)
            canvas.along(BUILDING, color, x, (z, z + length), (0, height))
            _windows(canvas, x, (z, z + length), height, mix(color, GLASS, 0.8), seed)

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
