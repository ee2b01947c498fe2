"""A comparison of models as one image that needs nothing but itself (SVG, light and dark)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hamdg.report.charts import HEIGHT, WIDTH, Line, line_plot
from hamdg.report.html import PALETTE_SIZE, pair_name
from hamdg.report.markup import NOTHING, Html, joined, tag
from hamdg.report.style import CHARTS, PALETTE
from hamdg.report.table import MINUS, MISSING

if TYPE_CHECKING:
    from hamdg.merge.compare import Comparison

Layers = Mapping[str, float | None]

MARGIN, GAP = 24, 40
_PANEL = WIDTH * 1.3
_LETTER = 6.4
_LONGEST = 18
_ROW = 18
_STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.paper { fill: var(--paper); } .track { fill: var(--track); } .heat { fill: var(--heat); } .cold { fill: var(--cold); }
.ink { fill: var(--ink); font-size: 12px; } .soft { fill: var(--soft); font-size: 12px; }
.title { fill: var(--ink); font-size: 17px; font-weight: 600; } .key { stroke-width: 3; }
"""


def comparison_picture(found: Comparison) -> str:
    """Return the image: cosines and signs of every pair, and what they and the lengths are layer by layer.

    Args:
        found: What `hamdg.merge.compare.compare` measured.
    """
    left, right = MARGIN, MARGIN + _PANEL + GAP
    top = MARGIN + 42
    matrices, height = _matrices(found, (left, right), top)
    plots, bottom = _plots(found, (left, right), top + height + GAP)
    width = right + _PANEL + MARGIN
    drawing = tag(
        "svg",
        tag("style", _style()),
        tag("rect", class_="paper", width="100%", height="100%"),
        _text(left, MARGIN + 16, _headline(found), "title"),
        matrices,
        plots,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {bottom:.0f}",
        width=f"{width:.0f}",
        height=f"{bottom:.0f}",
        role="img",
        aria_label="Comparison of models",
    )
    return f"{drawing}\n"


def _headline(found: Comparison) -> str:
    return f"What {len(found.sources)} models changed from their start"


def _style() -> Html:
    """Return the style sheet with plain colors: not every program that shows SVG knows variables."""
    rules = _STYLE + "\n".join(line for line in CHARTS.splitlines() if not line.startswith(".chart svg"))
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in PALETTE.split("@media"))
    return Html(f"{_colored(rules, light)}\n@media (prefers-color-scheme: dark) {{{_colored(rules, dark)}\n}}")


def _colored(rules: str, colors: Mapping[str, str]) -> str:
    return re.sub(r"var\(--(\w+)\)", lambda match: colors[match[1]], rules)


def _matrices(found: Comparison, places: tuple[float, float], top: float) -> tuple[Html, float]:
    names = 14 + _LETTER * max(len(_short(source)) for source in found.sources)
    # Names stand above at 45 degrees, the last one beyond its column.
    cell = min(44.0, (_PANEL - 1.5 * names) / len(found.sources))
    head = 20 + 0.72 * names
    titles = ("Cosine of the changes", "Equal signs among the entries that both moved (0.5 by chance)")
    parts = []
    for x, title, values, chance in zip(places, titles, (found.cosines, found.agreement), (0.0, 0.5), strict=True):
        parts.append(_text(x, top, title, "soft"))
        whole = {pair: layers[""] for pair, layers in values.items()}
        parts += _matrix(found.sources, whole, (x + names, top + head), cell, chance)
    return joined(parts), head + cell * len(found.sources)


def _matrix(
    sources: Sequence[str], values: Layers, corner: tuple[float, float], cell: float, chance: float
) -> list[Html]:
    left, top = corner
    parts = []
    for row, source in enumerate(sources):
        middle = (row + 0.5) * cell
        parts.append(_text(left - 8, top + middle + 4, _short(source), "ink", "end", source))
        turned = f"translate({left + middle + 4:.1f} {top - 6:.1f}) rotate(-45)"
        parts.append(tag("text", _short(source), class_="ink", transform=turned))
        for column, other in enumerate(sources):
            value = 1.0 if row == column else values[f"{min(source, other)}|{max(source, other)}"]
            place = (left + column * cell, top + row * cell)
            parts.append(_cell(value, place, cell, chance, f"{source} / {other}"))
    return parts


def _cell(value: float | None, corner: tuple[float, float], size: float, chance: float, label: str) -> Html:
    x, y = corner
    place = {
        "x": f"{x + 1:.1f}",
        "y": f"{y + 1:.1f}",
        "width": f"{size - 2:.1f}",
        "height": f"{size - 2:.1f}",
        "rx": "3",
    }
    text = MISSING if value is None else f"{value:.2f}".replace("-", MINUS)
    above = 0.0 if value is None else (value - chance) / (1 - chance)
    kind, depth = "heat" if above > 0 else "cold", 0.76 * min(abs(above), 1.0)
    tint = tag("rect", class_=kind, opacity=f"{depth:.3f}", **place) if above else NOTHING
    written = _text(x + size / 2, y + size / 2 + 4, text, "ink", "middle") if size >= 30 else NOTHING
    return tag("g", tag("title", f"{label}: {text}"), tag("rect", class_="track", **place), tint, written)


def _plots(found: Comparison, places: tuple[float, float], top: float) -> tuple[Html, float]:
    """Return the charts by layer and where they end."""
    lengths = _lines({source: [found.lengths[source][layer] for layer in found.layers] for source in found.sources})
    cosines = _lines({pair_name(p): [layers[key] for key in found.layers] for p, layers in found.cosines.items()})
    scale = _PANEL / WIDTH
    charts = tuple(zip(places, ("Cosine by layer", "Length by layer"), (cosines, lengths), strict=True))
    legends = [_legend(lines, x, top + 20) for x, _, lines in charts]
    below = top + 14 + max(height for _, height in legends)
    parts = [key for key, _ in legends]
    for x, title, lines in charts:
        place = f"translate({x:.1f} {below:.1f}) scale({scale:.3f})"
        parts += [_text(x, top, title, "soft"), tag("g", line_plot(lines), class_="chart", transform=place)]
    note = f"Layers in the order of the network: 1 is {found.layers[0]}, {len(found.layers)} is {found.layers[-1]}."
    end = below + HEIGHT * scale + 16
    return joined([*parts, _text(places[0], end, note, "soft")]), end + MARGIN


def _lines(values: Mapping[str, Sequence[float | None]]) -> list[Line]:
    """Return one line a name, or mean and range where so many lines could not be told apart."""
    plain = {name: [float("nan") if value is None else value for value in row] for name, row in values.items()}
    if len(plain) > PALETTE_SIZE:
        columns = [[value for value in column if value is not None] for column in zip(*values.values(), strict=True)]
        plain = {
            f"mean of {len(values)}": [sum(column) / len(column) if column else float("nan") for column in columns],
            "lowest": [min(column, default=float("nan")) for column in columns],
            "highest": [max(column, default=float("nan")) for column in columns],
        }
    many = len(values) > PALETTE_SIZE
    return [
        Line(name, range(1, len(row) + 1), row, 0 if many else index, "dashed" if many and index else "solid")
        for index, (name, row) in enumerate(plain.items())
    ]


def _legend(lines: Sequence[Line], x: float, y: float) -> tuple[Html, float]:
    """Return the legend, broken into rows, and its height."""
    parts: list[Html] = []
    left, row = 0.0, 0
    for line in lines:
        name = _short(line.label, 2 * _LONGEST)
        width = 26 + len(name) * _LETTER + 16
        if left and left + width > _PANEL:
            left, row = 0.0, row + 1
        height = y + row * _ROW
        stroke = tag(
            "line",
            class_=f"key c{line.color}",
            stroke_dasharray="4 3" if line.kind == "dashed" else None,
            x1=f"{x + left:.1f}",
            x2=f"{x + left + 18:.1f}",
            y1=f"{height:.1f}",
            y2=f"{height:.1f}",
        )
        parts += [stroke, _text(x + left + 24, height + 4, name, "ink")]
        left += width
    return joined(parts), _ROW * (row + 1)


def _short(name: str, longest: int = _LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", title: str = "") -> Html:
    more = tag("title", title) if title and title != text else NOTHING
    return tag("text", more, text, class_=kind, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
