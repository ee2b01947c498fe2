"""The pieces every part of the page is made of: sections, legends, heat tables and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from hamdg.report.contract import known
from hamdg.report.table import MINUS, MISSING

PALETTE_SIZE = 8


def section(anchor: str, title: str, lead: str, *parts: str) -> str:
    """Return a section of the page, or nothing when no part has anything to show.

    Args:
        anchor: The section's id.
        title: Its heading.
        lead: One or two sentences that say what is to be seen (plain text).
        parts: HTML.
    """
    if not any(parts):
        return ""
    return (
        f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>'
        f'<p class="lead">{escape(lead)}</p>{"".join(parts)}</section>'
    )


def charts(*figures: str) -> str:
    """Return the charts side by side, as many as the window is wide; empty ones are left out."""
    shown = [figure for figure in figures if figure]
    return f'<div class="charts">{"".join(shown)}</div>' if shown else ""


def side_by_side(*parts: str) -> str:
    """Return the parts beside each other where the window is wide enough."""
    shown = [part for part in parts if part]
    return f'<div class="side">{"".join(shown)}</div>' if shown else ""


def colours(names: Sequence[str]) -> dict[str, int]:
    """Return the palette's colour of each name, by its place in the list."""
    return {name: index % PALETTE_SIZE for index, name in enumerate(names)}


def legend(names: Mapping[str, int], dashed: str = "") -> str:
    """Return a legend: one coloured stroke a name, and what a dashed line means where there is one."""
    items = [f'<li><i style="border-color: var(--c{colour})"></i>{escape(name)}</li>' for name, colour in names.items()]
    if dashed:
        items.append(f'<li><i class="dash"></i>{escape(dashed)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


@dataclass(frozen=True)
class HeatTable:
    """A table whose cells are tinted by their value.

    Args:
        title: What the values are.
        columns: The columns' names.
        rows: Each row's name and its values, one a column; `None` where there is none.
        lowest: The value without any tint; negative values get the other colour, tinted by their size.
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


def heat_table(table: HeatTable) -> str:
    """Return the table as a figure that scrolls sideways where the window is too narrow."""
    if not table.rows:
        return ""
    kind = ' class="tall"' if table.tall else ""
    head = "".join(f'<th scope="col"{kind}><span>{escape(name)}</span></th>' for name in table.columns)
    body = "".join(_heat_row(name, values, table) for name, values in table.rows.items())
    caption = f"<figcaption>{escape(table.title)}</figcaption>" if table.title else ""
    return (
        f'<figure class="heat">{caption}<div class="scroll"><table>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def bar(share: float, kind: str = "", error: float | None = None, mark: float | None = None) -> str:
    """Return a bar that fills `share` of its track, with an error interval and a dashed mark where given."""
    inner = f'<i style="width:{_width(share)}"></i>'
    if error is not None and known(error):
        low, high = max(share - error, 0.0), min(share + error, 1.0)
        inner += f'<em style="left:{_width(low)};width:{_width(high - low)}"></em>'
    if mark is not None:
        inner += f'<u style="left:{_width(mark)}"></u>'
    return f'<div class="bar {kind}">{inner}</div>'


def bar_list(values: Mapping[str, float], unit: str = "", digits: int = 2, own: str = "") -> str:
    """Return one bar a name, scaled to the largest value, with the value beside it."""
    largest = max(values.values(), default=0.0) or 1.0
    lines = [
        f"<span>{escape(name)}</span>{bar(value / largest, 'own' if name == own else 'merged')}"
        f"<span>{value:.{digits}f}{escape(unit)}</span>"
        for name, value in values.items()
    ]
    return f'<div class="bars">{"".join(lines)}</div>' if lines else ""


def pair_name(pair: str) -> str:
    """Return `a|b` as people read it."""
    return pair.replace("|", " / ")


def _heat_row(name: str, values: Sequence[float | None], table: HeatTable) -> str:
    kind = ' class="own"' if name in table.own else ""
    cells = "".join(_heat_cell(value, table) for value in values)
    return f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}</tr>'


def _heat_cell(value: float | None, table: HeatTable) -> str:
    if value is None or not known(value):
        return f'<td class="void">{MISSING}</td>'
    span = table.highest - table.lowest
    tint = min(max(abs(value) if value < 0 else value - table.lowest, 0.0) / span, 1.0)
    text = f"{value * table.scale:.{table.digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return f'<td{" class=minus" if value < 0 else ""} style="--v:{tint:.3f}">{text.replace("-", MINUS)}</td>'


def _width(share: float) -> str:
    return f"{100.0 * min(max(share, 0.0), 1.0):.2f}%"
