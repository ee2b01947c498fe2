"""Line charts as numbers: axes, ticks and strokes, which templates draw as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.table import MINUS

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 26
MAX_POINTS = 300
PALETTE_SIZE = 8


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        label: What the legend and the tooltip say.
        steps: The horizontal positions.
        values: The vertical positions.
        color: Index of the palette's color.
        kind: `solid`, `dashed`, or `faint` (raw data behind a smoothed line; not in the legend).
    """

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    color: int
    kind: str = "solid"


@dataclass(frozen=True)
class Tick:
    """A place on an axis: where it is drawn, what it says, and which end of the text stands there."""

    at: float
    text: str
    is_zero: bool = False
    anchor: str = "middle"


@dataclass(frozen=True)
class Stroke:
    """A line as it is drawn: `points` of a polyline, or its only point."""

    line: Line
    points: str
    only: tuple[float, float] | None


@dataclass(frozen=True)
class Plot:
    """The inside of a chart, `WIDTH` by `HEIGHT`."""

    value_ticks: Sequence[Tick]
    step_ticks: Sequence[Tick]
    strokes: Sequence[Stroke]
    left: float = LEFT
    right: float = WIDTH - RIGHT
    foot: float = HEIGHT - 9


def plot(lines: Sequence[Line], limits: Sequence[float] | None = None, *, percent: bool = False) -> Plot | None:
    """Return a chart of values over steps, from step 0 so that the charts of a run can be compared.

    Args:
        lines: What is drawn.
        limits: Lower and upper end of the value axis; chosen from the data when left out.
        percent: Whether values are shares in per cent: then such an axis ends at 100 where the data do.

    Returns:
        The chart; `None` if there is no point to draw.
    """
    drawn = [finite for line in lines if (finite := _finite(line)).steps]
    if not drawn:
        return None
    values = [value for line in drawn for value in line.values]
    low, high = limits or padded_limits(values)
    if percent and limits is None and max(values) <= 100.0:
        high = min(high, 100.0)
    steps = [step for line in lines for step in line.steps]
    whole = all(float(step).is_integer() for step in steps)
    frame = _Frame(max(*steps, 1) if whole else max(steps), low, high)
    return Plot(
        [Tick(frame.y(value), number(value), abs(value) < 1e-12) for value in ticks(low, high)],
        [Tick(frame.x(step), number(step)) for step in ticks(0.0, frame.last) if not whole or float(step).is_integer()],
        [_stroke(line, frame) for line in drawn],
    )


def colors(names: Sequence[str]) -> dict[str, int]:
    """Return the palette's color of each name, by its place in the list."""
    return {name: index % PALETTE_SIZE for index, name in enumerate(names)}


def pair_name(pair: str) -> str:
    """Return `a|b` as people read it."""
    return pair.replace("|", " / ")


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Return the centered running mean over about `window` values (fewer at the ends)."""
    half = window // 2
    parts = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(part) / len(part) for part in parts]


def padded_limits(values: Sequence[float], count: int = 5) -> tuple[float, float]:
    """Return limits a little wider than the data, from one of about `count` round numbers to another."""
    low, high = min(values), max(values)
    # What differs by rounding alone is drawn as a constant: its own spread is too small to put numbers on.
    spread = high - low if high - low > 1e-6 * max(abs(low), abs(high)) else 0.0
    margin = spread * 0.04 or max(abs(high), 1.0) * 0.05
    # A quantity that cannot be negative is not given a negative axis.
    floor = 0.0 if low >= 0.0 else -math.inf
    step = tick_step(low - margin, high + margin, count)
    return max(floor, math.floor((low - margin) / step) * step), math.ceil((high + margin) / step) * step


def tick_step(low: float, high: float, count: int = 5) -> float:
    """Return a distance of 1, 2 or 5 times a power of ten that gives about `count` ticks."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return the round numbers between `low` and `high`."""
    step = tick_step(low, high, count)
    start = math.ceil(low / step - 1e-9)
    return [index * step for index in range(start, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Return a number as axes show it."""
    return f"{value:.4g}".replace("-", MINUS) if abs(value) > 1e-12 else "0"


@dataclass(frozen=True)
class _Frame:
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + step / self.last * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return TOP + (self.high - inside) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _finite(line: Line) -> Line:
    pairs = [(s, v) for s, v in zip(line.steps, line.values, strict=True) if math.isfinite(v)]
    stride = max(1, math.ceil(len(pairs) / MAX_POINTS))
    kept = pairs[::stride]
    if pairs and kept[-1] != pairs[-1]:
        kept.append(pairs[-1])
    return Line(line.label, [step for step, _ in kept], [value for _, value in kept], line.color, line.kind)


def _stroke(line: Line, frame: _Frame) -> Stroke:
    points = [(frame.x(step), frame.y(value)) for step, value in zip(line.steps, line.values, strict=True)]
    return Stroke(line, " ".join(f"{x:.1f},{y:.1f}" for x, y in points), points[0] if len(points) == 1 else None)
