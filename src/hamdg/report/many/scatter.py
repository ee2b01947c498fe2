"""Cost against accuracy: what each method's training took and what it reached, as a drawing for two widths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hamdg.report.charts import Tick, number, padded_limits, ticks
from hamdg.report.many.axis import value_axis
from hamdg.report.many.labels import Box, Label, place, text_width

LEFT, RIGHT, TOP, BOTTOM = 44.0, 16.0, 34.0, 44.0
# From the cheapest to the dearest: what differs by more is drawn on a logarithmic axis.
_LINEAR = 8.0
_LONGEST_NAME = 34


@dataclass(frozen=True)
class Cost:
    """What a method took and what it reached.

    Args:
        label: The method.
        cost: What it took, above zero.
        value: What it reached, in per cent.
        error: Its standard error; `None` for a single seed.
        text: All that in words.
        is_best: Whether nothing is better.
    """

    label: str
    cost: float
    value: float
    error: float | None
    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Point:
    """A method as it is drawn; the whisker reaches from `low` to `high`."""

    method: Cost
    x: float
    y: float
    low: float | None
    high: float | None
    label: Label | None
    on_front: bool


@dataclass(frozen=True)
class Level:
    """A value without a cost, as a line across the drawing, with its name."""

    y: float
    label: Label


@dataclass(frozen=True)
class Scatter:
    """The drawing.

    Args:
        width: Its width in pixels.
        height: Its height in pixels.
        points: The methods.
        front: The line of the methods that no other one beats at their cost, as points of a polyline.
        levels: Values without a cost.
        x_ticks: Round costs.
        y_ticks: Round values.
        is_logarithmic: Whether each step along the cost axis multiplies it.
        unnamed: Methods whose name has no room.
        below: Methods and values without a cost that are so far below the others that they are not drawn.
        x_title: What the cost is.
        y_title: What the value is.
    """

    width: float
    height: float
    points: Sequence[Point]
    front: str
    levels: Sequence[Level]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    is_logarithmic: bool
    unnamed: Sequence[str]
    below: Sequence[str]
    x_title: str
    y_title: str

    @property
    def left(self) -> float:
        """Where the value axis is."""
        return LEFT

    @property
    def right(self) -> float:
        """Where the drawing's inside ends."""
        return self.width - RIGHT

    @property
    def foot(self) -> float:
        """Where the cost axis is."""
        return self.height - BOTTOM


@dataclass(frozen=True)
class _Frame:
    """The inside of the drawing: where costs and values lie in pixels."""

    width: float
    height: float
    costs: tuple[float, float]
    values: tuple[float, float]
    is_logarithmic: bool

    def across(self, cost: float) -> float:
        """Return where a cost is on its axis."""
        low, high = self.costs
        share = math.log(cost / low) / math.log(high / low) if self.is_logarithmic else (cost - low) / (high - low)
        return LEFT + share * (self.width - LEFT - RIGHT)

    def down(self, value: float) -> float:
        """Return where a value is on its axis."""
        low, high = self.values
        return TOP + (high - value) / (high - low) * (self.height - TOP - BOTTOM)

    def x_ticks(self) -> list[Tick]:
        """Return round costs."""
        marks = _round_costs(*self.costs) if self.is_logarithmic else ticks(*self.costs, 6)
        return [Tick(self.across(mark), f"{mark:,.10g}") for mark in marks]

    def y_ticks(self) -> list[Tick]:
        """Return round values."""
        return [Tick(self.down(value), number(value)) for value in ticks(*self.values)]


def scatter(
    methods: Sequence[Cost],
    free: Sequence[tuple[str, float]],
    titles: tuple[str, str],
    size: tuple[float, float],
    higher_is_better: bool = True,
) -> Scatter:
    """Return cost against value.

    Args:
        methods: What is drawn; two at least. A few that are far below all others are left out.
        free: Names and values that cost nothing, such as zero-shot.
        titles: What the cost is, and what the value is.
        size: Pixels across and down.
        higher_is_better: Whether the highest value is the best, or the lowest; low values are left out if they are bad.
    """
    sign = 1.0 if higher_is_better else -1.0
    values = [*(one.value for one in methods), *(value for _, value in free)]
    axis = value_axis(values, _ends(methods), may_cut=higher_is_better)
    if not any(axis.shows(one.value) for one in methods):
        # What costs nothing is so much better that nothing else would be left.
        axis = value_axis(values, _ends(methods), may_cut=False)
    below = [one.label for one in methods if not axis.shows(one.value)]
    below += [name for name, value in free if not axis.shows(value)]
    methods = [one for one in methods if axis.shows(one.value)]
    free = [(name, value) for name, value in free if axis.shows(value)]
    frame = _frame(methods, free, size)
    ordered = sorted(methods, key=lambda one: (not one.is_best, -sign * one.value, one.label))
    places = [(frame.across(one.cost), frame.down(one.value)) for one in ordered]
    levels = [_level(name, frame.down(value), frame.width, places) for name, value in free]
    front = _front(methods, sign)
    path = [(frame.across(one.cost), frame.down(one.value)) for one in front]
    inside = Box(LEFT + 2, TOP - 6, frame.width - 4, frame.height - BOTTOM - 2)
    names = place(
        [(one.label, _short(one.label)) for one in ordered], places, inside, _covered(frame, ordered, levels, path)
    )
    points = [
        Point(
            one,
            x,
            y,
            None if one.error is None else frame.down(one.value - one.error),
            None if one.error is None else frame.down(one.value + one.error),
            label,
            one in front,
        )
        for one, (x, y), label in zip(ordered, places, names, strict=True)
    ]
    return Scatter(
        frame.width,
        frame.height,
        points,
        " ".join(f"{x:.1f},{y:.1f}" for x, y in path) if len(path) > 1 else "",
        levels,
        frame.x_ticks(),
        frame.y_ticks(),
        frame.is_logarithmic,
        [one.method.label for one in points if one.label is None],
        below,
        *titles,
    )


def _ends(methods: Sequence[Cost]) -> list[float]:
    """Return where the whiskers of methods end."""
    return [end for one in methods for end in (one.value - (one.error or 0.0), one.value + (one.error or 0.0))]


def _frame(methods: Sequence[Cost], free: Sequence[tuple[str, float]], size: tuple[float, float]) -> _Frame:
    """Return a frame around all that is drawn; logarithmic where costs differ a lot."""
    costs = [one.cost for one in methods]
    logarithmic = max(costs) > _LINEAR * min(costs)
    limits = _decades(costs) if logarithmic else padded_limits([0.0, *costs], 6)
    return _Frame(*size, limits, padded_limits([*_ends(methods), *(value for _, value in free)]), logarithmic)


def _covered(
    frame: _Frame, methods: Sequence[Cost], levels: Sequence[Level], path: Sequence[tuple[float, float]]
) -> list[Box]:
    """Return what no name may cover: whiskers, levels and their names, and the front."""
    whiskers = [
        Box(x - 3, frame.down(one.value + one.error), x + 3, frame.down(one.value - one.error))
        for one, x in ((one, frame.across(one.cost)) for one in methods)
        if one.error is not None
    ]
    lines = [Box(LEFT, level.y - 3, frame.width - RIGHT, level.y + 3) for level in levels]
    named = [_box_of(level.label) for level in levels]
    joined = [Box(x - 2, y - 2, x + 2, y + 2) for start, end in pairwise(path) for x, y in _between(start, end)]
    return [*whiskers, *lines, *named, *joined]


def _front(methods: Sequence[Cost], sign: float) -> list[Cost]:
    """Return the methods that are better than all that cost no more, from the cheapest to the dearest.

    Args:
        methods: The methods.
        sign: 1 if the highest value is the best, -1 if the lowest is.
    """
    found: list[Cost] = []
    for one in sorted(methods, key=lambda one: (one.cost, -sign * one.value)):
        if not found or sign * (one.value - found[-1].value) > 0.0:
            found.append(one)
    return found


def _level(name: str, y: float, width: float, points: Sequence[tuple[float, float]]) -> Level:
    """Return a line across; its name stands at the end that is further from all points."""
    ends: list[Label] = [Label(name, width - RIGHT - 4, y - 5, "end"), Label(name, LEFT + 6, y - 5, "start")]

    def covered(label: Label) -> int:
        box = _box_of(label)
        return sum(Box(x - 5, y - 5, x + 5, y + 5).meets(box) for x, y in points)

    return Level(y, min(ends, key=covered))


def _box_of(label: Label) -> Box:
    left = label.x - (text_width(label.text) if label.anchor == "end" else 0.0)
    return Box(left, label.y - 12, left + text_width(label.text), label.y + 4)


def _between(start: tuple[float, float], end: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Yield points along a line."""
    count = max(1, round(math.dist(start, end) / 6.0))
    for step in range(1, count):
        share = step / count
        yield start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _decades(costs: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis: a little beyond the data."""
    margin = (max(costs) / min(costs)) ** 0.06
    return min(costs) / margin, max(costs) * margin


def _round_costs(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two costs; powers of ten alone where that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(found) <= 8:
            return found
    return found


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_NAME else f"{label[: _LONGEST_NAME - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
