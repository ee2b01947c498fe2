"""Methods against dials: their differences to the baseline as one self-contained image (SVG, light and dark)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hamdg.errors import ConfigError
from hamdg.report.charts import Tick, number, ticks
from hamdg.report.estimates import Difference, paired_difference
from hamdg.report.many.headline import main_cells
from hamdg.report.many.strips import scaled
from hamdg.report.rendering import image_style, render
from hamdg.report.table import MINUS, metric_title
from hamdg.report.tables.model import Cell, Metric, Table, Trial
from hamdg.text import did_you_mean, excerpt, listed

# Conditions by what the dial says there, such as `{"0": ["clean"], "20 %": ["20 % label noise"]}`.
Strengths = Mapping[str, Sequence[str]]

WIDTH, COLUMNS, GAP, MARGIN = 900, 3, 26, 14
LEFT, TOP, BOTTOM, HEIGHT = 30, 24, 22, 224
_PANEL = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
_LETTER, _ROW, _HEAD = 7.6, 20, 60
# How far methods stand apart, so that their intervals can be told apart.
_APART = 5.0
# Means that lie further from the middle half of all than this many times its width are drawn on the edge.
_FENCE = 1.5
# Shapes tell methods apart where colors do not.
SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-3.6,-3.6h7.2v7.2h-7.2z",
    "M0,-4.8L4.6,3.4H-4.6z",
    "M0,-5.2L5.2,0L0,5.2L-5.2,0z",
    "M0,4.8L4.6,-3.4H-4.6z",
    "M-1.6,-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
)
# Okabe's and Ito's colors, which people with any color vision can tell apart, made lighter for dark pages.
_LIGHT = ("#0072b2", "#d55e00", "#00875f", "#b5508a", "#8a6d00", "#3b4249")
_DARK = ("#56b4e9", "#f0853a", "#2cc39a", "#e79cc6", "#e6c229", "#d5dbe1")
_STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.paper { fill: var(--paper); } .soft { fill: var(--soft); font-size: 12px; } .ink { fill: var(--ink); font-size: 13px; }
.title { fill: var(--ink); font-size: 16px; font-weight: 600; }
.dial { fill: var(--ink); font-size: 13px; font-weight: 600; }
.grid { stroke: var(--rule); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1.4; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .whisker { stroke-width: 1.3; opacity: .7; }
.far { font-size: 10.5px; font-weight: 600; }
"""


@dataclass(frozen=True)
class Curve:
    """A method against a dial: its difference to the baseline at each strength; `None` where it has none."""

    label: str
    differences: Sequence[Difference | None]


@dataclass(frozen=True)
class Panel:
    """A dial: its strengths, and the methods against it; differences in points where they are of shares."""

    name: str
    strengths: Sequence[str]
    curves: Sequence[Curve]


@dataclass(frozen=True)
class _Mark:
    x: float
    y: float
    low: float | None
    high: float | None
    title: str
    far: str = ""
    far_y: float = 0.0


@dataclass(frozen=True)
class _Drawn:
    color: int
    shape: str
    points: str
    marks: Sequence[_Mark]


@dataclass(frozen=True)
class _DrawnPanel:
    name: str
    x: float
    y: float
    value_ticks: Sequence[Tick]
    strength_ticks: Sequence[Tick]
    curves: Sequence[_Drawn]


@dataclass(frozen=True)
class _Key:
    x: float
    y: float
    name: str
    color: int
    shape: str


def panels(tables: Sequence[Table], dials: Mapping[str, Strengths], methods: Sequence[str] = ()) -> list[Panel]:
    """Return methods against dials: means of paired differences (same held-out domain, same seed) to the baseline.

    Args:
        tables: A table for each condition, with the baseline among its rows.
        dials: The conditions of each dial, by what it says there; several at one strength count together.
        methods: Labels of the methods, in their order; all but the baseline when left out.

    Raises:
        ConfigError: If no row has a method's label, there is no baseline, or there are more methods than shapes.
    """
    cells: dict[str, dict[str, dict[Trial, float]]] = {}
    bases: dict[str, dict[Trial, float]] = {}
    for table in tables:
        condition = table.place["condition"]
        for head, cell in zip(table.rows, main_cells(table), strict=True):
            place = bases if head.is_baseline else cells.setdefault(head.label, {})
            place.setdefault(condition, {}).update(_values(cell, table.metric))
    if not bases:
        raise ConfigError("The figure shows differences to the `baseline` of the sweep, but no table has it as a row.")
    if unknown := [label for label in methods if label not in cells]:
        hint = did_you_mean(unknown[0], list(cells), f"there are {listed(list(cells))}.")
        raise ConfigError(f"`figure.methods` names `{excerpt(unknown[0])}`, which no row is called; {hint}")
    labels = list(methods or cells)
    if len(labels) > len(SHAPES):
        raise ConfigError(
            f"The figure can show {len(SHAPES)} methods, but there are {len(labels)}; name some under `figure.methods`."
        )
    return [
        Panel(
            name,
            list(strengths),
            [Curve(label, [_difference(cells[label], bases, own) for own in strengths.values()]) for label in labels],
        )
        for name, strengths in dials.items()
    ]


def _values(cell: Cell, metric: Metric) -> dict[Trial, float]:
    return {trial: scaled(value, metric) for trial, value in cell.values.items()}


def _difference(
    own: Mapping[str, Mapping[Trial, float]], bases: Mapping[str, Mapping[Trial, float]], conditions: Sequence[str]
) -> Difference | None:
    pairs = [
        {(condition, trial): value for condition in conditions for trial, value in values.get(condition, {}).items()}
        for values in (own, bases)
    ]
    return paired_difference(*pairs)


def dials_image(found: Sequence[Panel], baseline: str, title: str, metric: Metric, lowest: float | None = None) -> str:
    """Return the image: a panel for each dial, all on one axis.

    Args:
        found: The panels.
        baseline: What the methods are compared with.
        title: The heading.
        metric: What the differences are of.
        lowest: The lower end of the axis; by the data when left out.
    """
    low, high = limits(found, lowest)
    labels = [curve.label for curve in found[0].curves]
    keys, head = _legend(labels)
    drawn = [
        _drawn_panel(one, low, high, MARGIN + place % COLUMNS * (_PANEL + GAP), head + place // COLUMNS * HEIGHT)
        for place, one in enumerate(found)
    ]
    far = any(mark.far for one in drawn for curve in one.curves for mark in curve.marks)
    unit = ", in points" if metric.is_share else ""
    said = f"{metric_title(metric.label)} minus that of {baseline} on unseen domains{unit}; 95 % intervals, "
    said += "pairs of domain and seed as independent."
    said += " Numbers: further down." if far else ""
    return render(
        "dials.svg",
        style="\n".join([image_style(_STYLE), *_colors()]),
        width=WIDTH,
        height=f"{head + -(-len(found) // COLUMNS) * HEIGHT + MARGIN:.0f}",
        title=title,
        said=said,
        keys=keys,
        panels=drawn,
        left=LEFT,
        right=f"{_PANEL:.1f}",
        foot=HEIGHT - BOTTOM,
    )


def limits(found: Sequence[Panel], lowest: float | None = None) -> tuple[float, float]:
    """Return the ends of the axis: of all that is drawn, but of means that lie far down, which are on the lower edge.

    Args:
        found: What is drawn.
        lowest: The lower end, where it is given.
    """
    shown = [one for panel in found for curve in panel.curves for one in curve.differences if one is not None]
    if not shown:
        raise ConfigError("No method has a result under the conditions of the figure's dials.")
    means = sorted(one.mean for one in shown)
    first, third = means[len(means) // 4], means[(3 * len(means)) // 4]
    floor = first - _FENCE * max(third - first, 1.0) if lowest is None else lowest
    kept = [one for one in shown if one.mean >= floor]
    ends = [0.0, *(end for one in kept for end in (one.mean, one.low, one.high) if end is not None)]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 1.0
    # A wide interval of few pairs is cut rather than all others pressed together.
    return (max(low, min(floor, 0.0)) - margin if lowest is None else lowest), high + margin


def _colors() -> Iterator[str]:
    for start, colors, end in (("", _LIGHT, ""), ("@media (prefers-color-scheme: dark) {", _DARK, "}")):
        rules = " ".join(f".k{n} {{ stroke: {one}; }} .m{n} {{ fill: {one}; }}" for n, one in enumerate(colors))
        yield f"{start}{rules}{end}"


def _legend(labels: Sequence[str]) -> tuple[list[_Key], float]:
    """Return the methods' marks and names, and where the panels begin below them."""
    keys: list[_Key] = []
    x, y = float(MARGIN), float(_HEAD)
    for index, label in enumerate(labels):
        width = 24 + len(label) * _LETTER + 18
        if x > MARGIN and x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + _ROW
        keys.append(_Key(x, y, label, index, SHAPES[index]))
        x += width
    return keys, y + 18


def _drawn_panel(panel: Panel, low: float, high: float, x: float, y: float) -> _DrawnPanel:
    span = HEIGHT - TOP - BOTTOM - 10

    def at(value: float) -> float:
        return TOP + (high - min(max(value, low), high)) / (high - low) * span

    step = (_PANEL - LEFT) / len(panel.strengths)
    middles = [LEFT + (place + 0.5) * step for place in range(len(panel.strengths))]
    curves = []
    below = [0] * len(panel.strengths)
    for index, curve in enumerate(panel.curves):
        shift = (index - (len(panel.curves) - 1) / 2) * _APART
        marks = []
        for place, one in enumerate(curve.differences):
            if one is None:
                continue
            said = f"{curve.label}, {panel.name} {panel.strengths[place]}: {number(one.mean)}"
            ends = None if one.low is None or one.high is None else (one.low, one.high)
            said += f", 95 % interval {number(ends[0])} to {number(ends[1])}, {one.n} pairs" if ends else ""
            is_far = one.mean < low
            bottom, top = (at(ends[0]), at(ends[1])) if ends and not is_far else (None, None)
            far = f"{one.mean:.0f}".replace("-", MINUS) if is_far else ""
            # Numbers at one strength stand above one another.
            marks.append(
                _Mark(middles[place] + shift, at(one.mean), bottom, top, said, far, at(low) - 8 - 11 * below[place])
            )
            below[place] += is_far
        points = " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks)
        curves.append(_Drawn(index, SHAPES[index], points, marks))
    return _DrawnPanel(
        panel.name,
        x,
        y,
        [Tick(at(value), number(value), abs(value) < 1e-12) for value in ticks(low, high, 5)],
        [Tick(middle, text) for middle, text in zip(middles, panel.strengths, strict=True)],
        curves,
    )
