"""The classes of a street's pixels, and its layout: where curbs, lawns and houses are."""

from __future__ import annotations

from typing import NamedTuple

from numpy.random import Generator

# The order of Cityscapes, as far as it goes.
CLASSES = ("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car")
ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, SKY, PERSON, CAR = range(len(CLASSES))


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


def drawn_plan(rng: Generator) -> Plan:
    """Return a random layout."""
    curbs = (rng.uniform(2.8, 6.0), rng.uniform(2.4, 4.4))
    paved = (rng.uniform(2.2, 4.4), rng.uniform(2.2, 4.4))
    lawns = (rng.uniform(1.5, 4.0) * (rng.random() < 0.4), rng.uniform(1.5, 4.0) * (rng.random() < 0.4))
    walls = (curbs[0] + paved[0] + lawns[0], curbs[1] + paved[1] + lawns[1])
    bright = rng.random() < 0.5
    return Plan(curbs, walls, lawns, (1.0, 0.72) if bright else (0.72, 1.0))
