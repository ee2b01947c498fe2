"""Figures that a step leaves in the record, as data: the page draws them without the code that made them.

An algorithm builds them with the functions below, and hands them over in its step's summary. A figure whose data lie
in a file of the run (`metrics.csv`, images) names them instead of holding a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

Style = Literal["solid", "dashed", "faint"]


class HeatMap(TypedDict):
    """A table whose cells are tinted by their value; negative values get the other color.

    Attributes:
        columns: Names of the columns; layers stand in the order of depth.
        rows: Name and values of each row, one value a column.
        lowest: The value without a tint.
        highest: The value with the full tint.
        percent: Whether the values are fractions to be shown in per cent.
    """

    kind: Literal["heat_map"]
    title: str
    note: str
    columns: list[str]
    rows: dict[str, list[float | None]]
    lowest: float
    highest: float
    percent: bool


class Series(TypedDict):
    """One line: its points, and how it is drawn."""

    label: str
    x: list[float]
    y: list[float | None]
    style: Style


class Lines(TypedDict):
    """A line chart of data that stand in the figure itself."""

    kind: Literal["lines"]
    title: str
    note: str
    x: str
    series: list[Series]
    limits: list[float] | None


class Curve(TypedDict):
    """A metric of the step's `metrics.csv`, drawn as one line a source.

    Attributes:
        metric: Name of the metric.
        over: Name of another that it is divided by; empty for none.
        meaning: What the style stands for, for the legend; empty for none.
    """

    metric: str
    over: str
    style: Style
    meaning: str


class Curves(TypedDict):
    """A line chart of what the step logged.

    Attributes:
        curves: The metrics.
        percent: Whether the values are fractions to be shown in per cent.
        smooth: Whether a running mean is drawn over the faint values themselves.
        limits: Ends of the value axis.
    """

    kind: Literal["curves"]
    title: str
    note: str
    curves: list[Curve]
    percent: bool
    smooth: bool
    limits: list[float] | None


class LayerMeans(TypedDict):
    """A heat map of a metric that the step logged by layer: its mean over the steps, one row a source."""

    kind: Literal["layer_means"]
    title: str
    note: str
    metric: str


class Bars(TypedDict):
    """One bar a name; `own` is the name that stands out."""

    kind: Literal["bars"]
    title: str
    note: str
    values: dict[str, float]
    own: str
    digits: int


class Table(TypedDict):
    """A plain table; the first column holds names, the others numbers as text."""

    kind: Literal["table"]
    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


class StripImage(TypedDict):
    """One image of a strip: its place in the file's array `images`, and what is written below it."""

    index: int
    caption: str


class Strip(TypedDict):
    """Images in a row, under a title."""

    title: str
    images: list[StripImage]


class ImageStrips(TypedDict):
    """Images from a file of the run.

    Attributes:
        file: Path below the run directory of an `.npz` with an array `images` of shape `[n, h, w, 3]`.
        strips: What is shown; empty for a log of offered samples, whose own columns say how they are sorted.
    """

    kind: Literal["images"]
    title: str
    note: str
    file: str
    strips: list[Strip]


Figure = HeatMap | Lines | Curves | LayerMeans | Bars | Table | ImageStrips


def heat_map(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    *,
    note: str = "",
    limits: tuple[float, float] = (0.0, 1.0),
    percent: bool = False,
) -> HeatMap:
    """Return a table whose cells are tinted by their value.

    Args:
        title: What the values are.
        columns: Names of the columns, in the order in which they are drawn.
        rows: Name and values of each row, one value a column; `None` where there is none.
        note: A sentence on what is seen.
        limits: The values without a tint and with the full one.
        percent: Whether the values are fractions to be shown in per cent.
    """
    return {
        "kind": "heat_map",
        "title": title,
        "note": note,
        "columns": list(columns),
        "rows": {name: list(values) for name, values in rows.items()},
        "lowest": limits[0],
        "highest": limits[1],
        "percent": percent,
    }


def layer_map(
    title: str,
    values: Mapping[str, Mapping[str, float]],
    layers: Sequence[str],
    *,
    note: str = "",
    percent: bool = False,
) -> HeatMap:
    """Return a heat map with one column a layer, from the first layer to the last.

    Args:
        title: What the values are.
        values: For each row, the values by layer.
        layers: All layers by depth; those without a value are left out, others stand at the end.
        note: A sentence on what is seen.
        percent: Whether the values are fractions to be shown in per cent.
    """
    columns = in_depth({name for own in values.values() for name in own if name}, layers)
    return heat_map(
        title,
        columns,
        {row: [own.get(name) for name in columns] for row, own in values.items()},
        note=note,
        percent=percent,
    )


def in_depth(names: Mapping[str, object] | set[str] | Sequence[str], layers: Sequence[str]) -> list[str]:
    """Return the names in the order of `layers`; names that it lacks come last, sorted."""
    return [name for name in layers if name in names] + sorted(set(names) - set(layers))


def series(label: str, x: Sequence[float], y: Sequence[float | None], style: Style = "solid") -> Series:
    """Return one line of a chart."""
    return {"label": label, "x": list(x), "y": list(y), "style": style}


def lines(
    title: str, drawn: Sequence[Series], *, x: str = "step", note: str = "", limits: tuple[float, float] | None = None
) -> Lines:
    """Return a line chart of data that are small enough to stand in the record.

    Args:
        title: What the values are.
        drawn: The lines.
        x: What the horizontal axis is.
        note: A sentence on what is seen.
        limits: Ends of the value axis; chosen from the data when left out.
    """
    return {
        "kind": "lines",
        "title": title,
        "note": note,
        "x": x,
        "series": list(drawn),
        "limits": None if limits is None else list(limits),
    }


def curve(metric: str, *, over: str = "", style: Style = "solid", meaning: str = "") -> Curve:
    """Return a metric of the step's `metrics.csv` as lines of a chart, divided by another one where `over` names it."""
    return {"metric": metric, "over": over, "style": style, "meaning": meaning}


def curves(
    title: str,
    drawn: Sequence[Curve],
    *,
    note: str = "",
    percent: bool = False,
    smooth: bool = False,
    limits: tuple[float, float] | None = None,
) -> Curves:
    """Return a line chart of what the step logged; metrics that no figure names are drawn anyway, each on its own.

    Args:
        title: What the values are.
        drawn: The metrics.
        note: A sentence on what is seen.
        percent: Whether the values are fractions to be shown in per cent.
        smooth: Whether a running mean is drawn over the faint values themselves; for what jumps from step to step.
        limits: Ends of the value axis, in per cent where that is shown; chosen from the data when left out.
    """
    return {
        "kind": "curves",
        "title": title,
        "note": note,
        "curves": list(drawn),
        "percent": percent,
        "smooth": smooth,
        "limits": None if limits is None else list(limits),
    }


def layer_means(title: str, metric: str, *, note: str = "") -> LayerMeans:
    """Return a heat map of what the step logged by layer, as its mean over the steps."""
    return {"kind": "layer_means", "title": title, "note": note, "metric": metric}


def direction_figures(prefix: str = "cosine") -> list[Figure]:
    """Return the figures of the directions in which the models of a cohort move, before and after a coupling acts.

    Args:
        prefix: Of the metrics: `<prefix>/before` and `<prefix>/after` of updates, `<prefix>/history` of task vectors.
    """
    before, after = f"{prefix}/before", f"{prefix}/after"
    return [
        curves(
            "Cosine of update directions",
            [curve(before, style="dashed", meaning="before harmonization"), curve(after)],
            note="Of two models at the same step: 1 is the same direction, below 0 they pull against each other.",
        ),
        curves("Cosine of task vectors (weights minus start)", [curve(f"{prefix}/history")]),
        layer_means("Cosine of updates by layer, before harmonization: mean over the steps", before),
        layer_means("Cosine of updates by layer, after harmonization: mean over the steps", after),
    ]


def bars(title: str, values: Mapping[str, float], *, note: str = "", own: str = "", digits: int = 3) -> Bars:
    """Return one bar a name, of which `own` stands out; values are shown with `digits` after the point."""
    return {"kind": "bars", "title": title, "note": note, "values": dict(values), "own": own, "digits": digits}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, note: str = "") -> Table:
    """Return a plain table, whose first column holds names."""
    return {
        "kind": "table",
        "title": title,
        "note": note,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
    }


def image_strips(title: str, file: str, strips: Sequence[Strip] = (), *, note: str = "") -> ImageStrips:
    """Return images from a file of the run.

    Args:
        title: What they are.
        file: Path below the run directory, such as `train/samples.npz`.
        strips: Which of them are shown, and how; empty for a log of offered samples.
        note: A sentence on what is seen.
    """
    return {"kind": "images", "title": title, "note": note, "file": file, "strips": list(strips)}
