"""Prepares the figures of a step for the page, from the record's data, the step's metrics and its images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from hamdg.report.charts import PALETTE_SIZE, Line, Plot, colors, pair_name, plot, smoothed
from hamdg.report.metrics import Metrics, Series
from hamdg.report.samples import Images, Sheet
from hamdg.report.table import MINUS, MISSING
from hamdg.runs import figures as data
from hamdg.runs.figures import Curve, Curves, Figure, HeatMap, LayerMeans, Lines
from hamdg.runs.record import known
from hamdg.text import capitalized

_SHORTEST_WINDOW = 9
_POOLED = "all sources"
_TALL = 7
# What every training logs, drawn first and under these titles; its schedule follows from the recipe.
_COMMON = {
    "loss": "Loss",
    "validation/accuracy": "Accuracy on the model's own hold-out set, %",
    "validation/mIoU": "Mean IoU on the model's own hold-out set, %",
    "gradient_norm": "Gradient norm before clipping",
}
_LEFT_OUT = ("lr",)
_SHARES = ("validation/accuracy", "validation/mIoU")
_NOISY = ("loss", "gradient_norm")


@dataclass(frozen=True)
class Chart:
    """A line chart; `meanings` says what its dashed lines are."""

    title: str
    note: str
    drawn: Plot
    names: Mapping[str, int]
    meanings: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map: its text, its tint from 0 to 1, and whether it has the other color, or no value."""

    text: str
    tint: float = 0.0
    kind: str = ""


@dataclass(frozen=True)
class Heat:
    """A heat map; `tall`: the names of its columns are written upwards; `corner`: what rows and columns are."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    tall: bool
    own: str = ""
    corner: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its width in per cent, what stands beside it, and whether it stands out."""

    name: str
    width: float
    text: str
    is_own: bool = False


@dataclass(frozen=True)
class BarList:
    """One bar a name."""

    title: str
    note: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Block:
    """Figures that stand together: `charts` (with one legend), `side`, `table` or `images`."""

    kind: str
    items: Sequence[object]
    names: Mapping[str, int] = field(default_factory=dict)
    meanings: Sequence[str] = ()


@dataclass(frozen=True)
class StepData:
    """What a step left in files that figures refer to.

    Args:
        metrics: Its `metrics.csv`.
        images: The image files that figures name, by their path in the run; files that are gone are missing.
    """

    metrics: Metrics = field(default_factory=lambda: Metrics({}))
    images: Mapping[str, Images] = field(default_factory=dict)


def blocks(
    figures: Sequence[Figure], found: StepData, sources: Sequence[str], layers: Sequence[str] = ()
) -> list[Block]:
    """Return a step's figures in groups that stand together.

    What every training logs comes first, what no figure names last.

    Args:
        figures: The step's own.
        found: What they refer to.
        sources: The source domains, whose colors are the same in all charts.
        layers: The network's layers by depth.
    """
    draw = _Drawing(found, sources, layers)
    named = {curve["metric"] for one in figures if one["kind"] == "curves" for curve in one["curves"]}
    named |= {curve["over"] for one in figures if one["kind"] == "curves" for curve in one["curves"]}
    named |= {one["metric"] for one in figures if one["kind"] == "layer_means"}
    others = [name for name in found.metrics.names() if name not in (*named, *_COMMON, *_LEFT_OUT)]
    common = [_common(name) for name in _COMMON if name not in named]
    drawn = [draw(figure) for figure in (*common, *figures, *(made for name in others for made in _default(name)))]
    return list(_grouped([one for one in drawn if one is not None]))


def _common(name: str) -> Curves:
    return data.curves(_COMMON[name], [data.curve(name)], percent=name in _SHARES, smooth=name in _NOISY)


def _default(name: str) -> tuple[Figure, Figure]:
    title = capitalized(name.replace("_", " ").replace("/", ", "))
    return data.curves(title, [data.curve(name)]), data.layer_means(f"{title}, by layer: mean over the steps", name)


def _grouped(drawn: Sequence[object]) -> Iterator[Block]:
    """Yield the figures in blocks: charts of the same lines under one legend, small things beside each other."""

    def key(one: object) -> tuple[str, tuple[str, ...]]:
        if isinstance(one, Chart):
            return "charts", tuple(one.names)
        if isinstance(one, Heat | BarList):
            return "side", ()
        return ("images" if isinstance(one, Sheet) else "table"), (str(id(one)),)

    for (kind, _), items in groupby(drawn, key):
        own = list(items)
        charts = [one for one in own if isinstance(one, Chart)]
        meanings = dict.fromkeys(text for one in charts for text in one.meanings)
        yield Block(kind, own, charts[0].names if charts else {}, list(meanings))


class _Drawing:
    """Draws one figure after another; two that show the same numbers are drawn once."""

    def __init__(self, found: StepData, sources: Sequence[str], layers: Sequence[str]) -> None:
        self.found = found
        self.sources = sources
        self.layers = layers
        self._maps: list[dict[str, dict[str, float]]] = []

    def __call__(self, figure: Figure) -> object | None:
        """Return the figure ready to be drawn; `None` where there is nothing to show."""
        if figure["kind"] == "curves":
            return self._curves(figure)
        if figure["kind"] == "lines":
            return self._lines(figure)
        if figure["kind"] == "layer_means":
            return self._layer_means(figure)
        if figure["kind"] == "heat_map":
            return heat(figure)
        if figure["kind"] == "bars":
            return bar_list(figure)
        if figure["kind"] == "images":
            images = self.found.images.get(figure["file"])
            return None if images is None else images.sheet(figure, self.sources)
        # Tables need no preparation.
        return figure

    def _curves(self, figure: Curves) -> Chart | None:
        lines: list[Line] = []
        meanings, drawn, palette = [], list[Mapping[str, Series]](), dict[str, int]()
        for curve in figure["curves"]:
            own = _few(self._series(curve, 100.0 if figure["percent"] else 1.0))
            if not own or own in drawn:
                continue
            drawn.append(own)
            palette |= self._palette(own)
            lines += _strokes(own, palette, curve["style"], figure["smooth"])
            meanings += [curve["meaning"]] if curve["meaning"] else []
        if len(drawn) == 1:
            # A single line needs no style of its own.
            lines, meanings = [_solid(line) for line in lines], []
        body = plot(lines, figure["limits"], percent=figure["percent"])
        raw = "Faint: the steps themselves." if any(line.kind == "faint" for line in lines) else ""
        note = " ".join(text for text in (figure["note"], raw) if text)
        return None if body is None else Chart(figure["title"], note, body, palette, meanings)

    def _series(self, curve: Curve, scale: float) -> dict[str, Series]:
        own = self.found.metrics.by_source(curve["metric"])
        if curve["over"]:
            own = _ratios(own, self.found.metrics.by_source(curve["over"]))
        return {
            pair_name(name) or _POOLED: Series(one.steps, tuple(scale * value for value in one.values))
            for name, one in own.items()
        }

    def _palette(self, names: Mapping[str, object]) -> dict[str, int]:
        """Return the colors of the sources that occur, each by its place among all, and of whatever else occurs."""
        others = [name for name in names if name not in self.sources]
        place = colors([*self.sources, *others] if len(others) < len(names) else others)
        return {name: place[name] for name in (*self.sources, *others) if name in names}

    def _lines(self, figure: Lines) -> Chart | None:
        palette = self._palette({one["label"]: None for one in figure["series"]})
        lines = [
            Line(
                one["label"],
                one["x"],
                [math.nan if value is None else value for value in one["y"]],
                palette[one["label"]],
                one["style"],
            )
            for one in figure["series"]
        ]
        body = plot(lines, figure["limits"])
        note = " ".join(text for text in (figure["note"], f"Over {figure['x']}." * (figure["x"] != "step")) if text)
        return None if body is None else Chart(figure["title"], note, body, palette, [])

    def _layer_means(self, figure: LayerMeans) -> Heat | None:
        means = {
            pair_name(name): {layer: series.mean for layer, series in own.items()}
            for name, own in self.found.metrics.by_layer(figure["metric"]).items()
        }
        if not means or means in self._maps:
            return None
        self._maps.append(means)
        # Of runs whose record does not list the layers, the file's order is that of depth.
        layers = self.layers or list(dict.fromkeys(name for own in means.values() for name in own))
        return heat(data.layer_map(figure["title"], means, layers, note=figure["note"]))


def heat(figure: HeatMap, own: str = "", digits: int | None = None) -> Heat | None:
    """Return a heat map ready to be drawn; `None` where it has no rows.

    Args:
        figure: The figure.
        own: The row that stands out.
        digits: Digits after the point; those that its kind of values needs when left out.
    """
    if not figure["rows"]:
        return None
    shown = digits if digits is not None else 0 if figure["percent"] else 2
    rows = {name: [_cell(value, figure, shown) for value in values] for name, values in figure["rows"].items()}
    columns = [name.removeprefix("transformer.") for name in figure["columns"]]
    tall = max((len(name) for name in columns), default=0) >= _TALL
    return Heat(figure["title"], figure["note"], columns, rows, tall, own)


def bar_list(figure: data.Bars, unit: str = "") -> BarList | None:
    """Return one bar a name, as long as its share of the largest; `None` where there is none."""
    largest = max(figure["values"].values(), default=0.0) or 1.0
    bars = [
        Bar(
            name,
            100 * min(max(value / largest, 0.0), 1.0),
            f"{value:.{figure['digits']}f}{unit}",
            name == figure["own"],
        )
        for name, value in figure["values"].items()
    ]
    return BarList(figure["title"], figure["note"], bars) if bars else None


def _cell(value: float | None, figure: HeatMap, digits: int) -> Cell:
    if value is None or not known(value):
        return Cell(MISSING, kind="void")
    lowest, highest = figure["lowest"], figure["highest"]
    tint = min(max(abs(value) if value < 0 else value - lowest, 0.0) / ((highest - lowest) or 1.0), 1.0)
    text = f"{value * (100 if figure['percent'] else 1):.{digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return Cell(text.replace("-", MINUS), tint, "minus" if value < 0 else "")


def _few(series: Mapping[str, Series]) -> Mapping[str, Series]:
    """Return the series, or their mean where so many lines could not be distinguished."""
    every = list(series.values())
    if len(every) <= PALETTE_SIZE or any(one.steps != every[0].steps for one in every):
        return series
    means = tuple(sum(values) / len(values) for values in zip(*(one.values for one in every), strict=True))
    return {f"mean of {len(every)}": Series(every[0].steps, means)}


def _strokes(series: Mapping[str, Series], palette: Mapping[str, int], style: str, smooth: bool) -> list[Line]:
    """Return each series as a line; long ones smoothed, over their own faint raw values."""
    raw = [Line(name, one.steps, one.values, palette[name], style) for name, one in series.items()]
    if not smooth or all(len(one.steps) <= 2 * _SHORTEST_WINDOW for one in series.values()):
        return raw
    return [Line(line.label, line.steps, line.values, line.color, "faint") for line in raw] + [
        Line(line.label, line.steps, _smooth(line.values), line.color) for line in raw
    ]


def _solid(line: Line) -> Line:
    return Line(line.label, line.steps, line.values, line.color, "solid") if line.kind == "dashed" else line


def _smooth(values: Sequence[float]) -> list[float]:
    return smoothed(values, max(_SHORTEST_WINDOW, len(values) // 20))


def _ratios(parts: Mapping[str, Series], wholes: Mapping[str, Series]) -> dict[str, Series]:
    """Return `part / whole`, both smoothed first so that steps with few images do not jump about."""
    found = {}
    for name, part in parts.items():
        whole = wholes.get(name)
        if whole is not None and whole.steps == part.steps:
            above, below = _smooth(part.values), _smooth(whole.values)
            values = (a / b if b > 0 else math.nan for a, b in zip(above, below, strict=True))
            found[name] = Series(part.steps, tuple(values))
    return found
