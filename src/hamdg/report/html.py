"""The pieces every part of the page is made of: sections, legends, heat tables and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hamdg.report.markup import NOTHING, Html, joined, tag
from hamdg.report.table import MINUS, MISSING
from hamdg.runs.record import known

PALETTE_SIZE = 8


def section(anchor: str, title: str, lead: str, *parts: Html) -> Html:
    """Return a section of the page, or nothing when no part has anything to show.

    Args:
        anchor: The section's id.
        title: Its heading.
        lead: One or two sentences that say what is to be seen.
        parts: What it shows.
    """
    if not any(parts):
        return NOTHING
    return tag("section", tag("h2", title), tag("p", lead, class_="lead"), *parts, id=anchor)


def charts(*figures: Html) -> Html:
    """Return the charts side by side, as many as the window is wide; empty ones are left out."""
    return tag("div", *figures, class_="charts") if any(figures) else NOTHING


def side_by_side(*parts: Html) -> Html:
    """Return the parts beside each other where the window is wide enough."""
    return tag("div", *parts, class_="side") if any(parts) else NOTHING


def table(head: Sequence[Html], body: Sequence[Html], kind: str | None = None) -> Html:
    """Return a table that scrolls sideways where the window is too narrow.

    Args:
        head: The cells of its head.
        body: Its lines.
        kind: Its class.
    """
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_=kind)
    return tag("div", whole, class_="scroll")


def colors(names: Sequence[str]) -> dict[str, int]:
    """Return the palette's color of each name, by its place in the list."""
    return {name: index % PALETTE_SIZE for index, name in enumerate(names)}


def legend(names: Mapping[str, int], dashed: str = "") -> Html:
    """Return a legend: one colored stroke a name, and what a dashed line means where there is one."""
    items = [tag("li", tag("i", style=f"border-color: var(--c{color})"), name) for name, color in names.items()]
    if dashed:
        items.append(tag("li", tag("i", class_="dash"), dashed))
    return tag("ul", *items, class_="legend")


@dataclass(frozen=True)
class HeatTable:
    """A table whose cells are tinted by their value.

    Args:
        title: What the values are.
        columns: The columns' names.
        rows: Each row's name and its values, one a column; `None` where there is none.
        lowest: The value without any tint; negative values get the other color, tinted by their size.
        highest: The value with the full tint.
        digits: Digits after the point.
        scale: What the printed value is multiplied by (100 for per cent).
        tall: Write the columns' names upwards, for long ones.
        own: Rows that stand out.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float | None]]
    lowest: float = 0.0
    highest: float = 1.0
    digits: int = 2
    scale: float = 1.0
    tall: bool = False
    own: Sequence[str] = field(default_factory=tuple)


def heat_table(heat: HeatTable) -> Html:
    """Return the table as a figure."""
    if not heat.rows:
        return NOTHING
    kind = "tall" if heat.tall else None
    head = [tag("th"), *(tag("th", tag("span", name), scope="col", class_=kind) for name in heat.columns)]
    body = [_heat_row(name, values, heat) for name, values in heat.rows.items()]
    caption = tag("figcaption", heat.title) if heat.title else NOTHING
    return tag("figure", caption, table(head, body), class_="heat")


def bar(share: float, kind: str = "", error: float | None = None, mark: float | None = None) -> Html:
    """Return a bar that fills `share` of its track, with an error interval and a dashed mark where given."""
    inner = [tag("i", style=f"width:{_width(share)}")]
    if error is not None and known(error):
        low, high = max(share - error, 0.0), min(share + error, 1.0)
        inner.append(tag("em", style=f"left:{_width(low)};width:{_width(high - low)}"))
    if mark is not None:
        inner.append(tag("u", style=f"left:{_width(mark)}"))
    return tag("div", *inner, class_=f"bar {kind}".rstrip())


def bar_list(values: Mapping[str, float], unit: str = "", digits: int = 2, own: str = "") -> Html:
    """Return one bar a name, scaled to the largest value, with the value beside it."""
    largest = max(values.values(), default=0.0) or 1.0
    lines = [
        joined(
            [
                tag("span", name),
                bar(value / largest, "own" if name == own else "merged"),
                tag("span", f"{value:.{digits}f}{unit}"),
            ]
        )
        for name, value in values.items()
    ]
    return tag("div", *lines, class_="bars") if lines else NOTHING


def pair_name(pair: str) -> str:
    """Return `a|b` as people read it."""
    return pair.replace("|", " / ")


def _heat_row(name: str, values: Sequence[float | None], heat: HeatTable) -> Html:
    cells = [_heat_cell(value, heat) for value in values]
    return tag("tr", tag("th", name, scope="row"), *cells, class_="own" if name in heat.own else None)


def _heat_cell(value: float | None, heat: HeatTable) -> Html:
    if value is None or not known(value):
        return tag("td", MISSING, class_="void")
    span = heat.highest - heat.lowest
    tint = min(max(abs(value) if value < 0 else value - heat.lowest, 0.0) / span, 1.0)
    text = f"{value * heat.scale:.{heat.digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return tag("td", text.replace("-", MINUS), class_="minus" if value < 0 else None, style=f"--v:{tint:.3f}")


def _width(share: float) -> str:
    return f"{100.0 * min(max(share, 0.0), 1.0):.2f}%"
