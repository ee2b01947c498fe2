"""Line charts as inline SVG; the page's style sheet gives the colors, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.markup import NOTHING, Html, joined, tag
from hamdg.report.table import MINUS

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 26
MAX_POINTS = 300


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
    steps: Sequence[int]
    values: Sequence[float]
    color: int
    kind: str = "solid"


def line_chart(title: str, lines: Sequence[Line], limits: tuple[float, float] | None = None) -> Html:
    """Return a figure with one chart: value over step, from step 0 so that the charts of a run can be compared.

    Args:
        title: The caption above the chart; says what the value is.
        lines: What is drawn.
        limits: Lower and upper end of the value axis; chosen from the data when left out.
    """
    body = line_plot(lines, limits)
    if not body:
        return NOTHING
    drawing = tag("svg", body, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("figure", tag("figcaption", title), drawing, class_="chart")


def line_plot(lines: Sequence[Line], limits: tuple[float, float] | None = None) -> Html:
    """Return the inside of such a chart, `WIDTH` by `HEIGHT`; nothing if there is no point to draw."""
    drawn = [_finite(line) for line in lines]
    drawn = [line for line in drawn if line.steps]
    if not drawn:
        return NOTHING
    low, high = limits or padded_limits([value for line in drawn for value in line.values])
    last = max(max(line.steps[-1] for line in drawn), 1)
    frame = _Frame(last, low, high)
    return joined([_value_axis(frame), _step_axis(frame), *(_path(line, frame) for line in drawn)])


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Return the centered running mean over about `window` values (fewer at the ends)."""
    half = window // 2
    parts = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(part) / len(part) for part in parts]


def padded_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits a little wider than the data, from round number to round number."""
    low, high = min(values), max(values)
    # What differs by rounding alone is drawn as a constant: its own spread is too small to put numbers on.
    spread = high - low if high - low > 1e-6 * max(abs(low), abs(high)) else 0.0
    margin = spread * 0.04 or max(abs(high), 1.0) * 0.05
    # A quantity that cannot be negative is not given a negative axis.
    floor = 0.0 if low >= 0.0 else -math.inf
    step = tick_step(low - margin, high + margin)
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


def _value_axis(frame: _Frame) -> Html:
    parts = []
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        kind = "zero" if abs(value) < 1e-12 else "grid"
        parts.append(tag("line", class_=kind, x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}"))
        parts.append(tag("text", _number(value), x=LEFT - 6, y=f"{y + 3.5:.1f}", text_anchor="end"))
    return joined(parts)


def _step_axis(frame: _Frame) -> Html:
    positions = [step for step in ticks(0.0, frame.last) if float(step).is_integer()]
    return joined(
        tag("text", int(step), x=f"{frame.x(step):.1f}", y=HEIGHT - 9, text_anchor="middle") for step in positions
    )


def _path(line: Line, frame: _Frame) -> Html:
    title = tag("title", line.label)
    if len(line.steps) == 1:
        x, y = frame.x(line.steps[0]), frame.y(line.values[0])
        return tag("circle", title, class_=f"dot c{line.color}", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3)
    points = " ".join(
        f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in zip(line.steps, line.values, strict=True)
    )
    return tag("polyline", title, class_=f"{line.kind} c{line.color}", points=points)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", MINUS) if abs(value) > 1e-12 else "0"
