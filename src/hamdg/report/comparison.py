"""A comparison of models as one self-contained image (SVG, light and dark)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamdg.report.charts import HEIGHT, PALETTE_SIZE, WIDTH, Line, Plot, pair_name, plot
from hamdg.report.rendering import image_style, render, style_parts
from hamdg.report.table import MINUS, MISSING

if TYPE_CHECKING:
    from hamdg.merge.compare import Comparison

Layers = Mapping[str, float | None]

MARGIN, GAP = 24, 40
_PANEL = WIDTH * 1.3
_SCALE = _PANEL / WIDTH
_LETTER = 6.4
_LONGEST = 18
_ROW = 18
_STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.paper { fill: var(--paper); } .track { fill: var(--track); } .heat { fill: var(--heat); } .cold { fill: var(--cold); }
.ink { fill: var(--ink); font-size: 12px; } .soft { fill: var(--soft); font-size: 12px; }
.title { fill: var(--ink); font-size: 17px; font-weight: 600; } .key { stroke-width: 3; }
"""


@dataclass(frozen=True)
class Text:
    """A text and where it stands; `title` is its tooltip, where it was shortened."""

    x: float
    y: float
    text: str
    kind: str
    anchor: str = "start"
    title: str = ""
    turned: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of a matrix: its corner, its size, and how deep it is tinted."""

    x: float
    y: float
    size: float
    text: str
    label: str
    kind: str
    tint: float


@dataclass(frozen=True)
class Key:
    """A line of a legend."""

    x: float
    y: float
    line: Line
    name: str


def comparison_image(found: Comparison) -> str:
    """Return the image: cosines and signs of every pair, and what they and the lengths are layer by layer.

    Args:
        found: What `hamdg.merge.compare.compare` measured.
    """
    places = (MARGIN, MARGIN + _PANEL + GAP)
    top = MARGIN + 42.0
    texts = [Text(MARGIN, MARGIN + 16, f"What {len(found.sources)} models changed from their start", "title")]
    cells: list[Cell] = []
    names, cell, head = _measures(found)
    for x, title, values, chance in _matrices(found, places):
        texts.append(Text(x, top, title, "soft"))
        corner = (x + names, top + head)
        texts += _names(found.sources, corner, cell)
        cells += _cells(found.sources, values, corner, cell, chance)
    top += head + cell * len(found.sources) + GAP
    keys: list[Key] = []
    charts = list(zip(places, ("Cosine by layer", "Length by layer"), _lines_by_layer(found), strict=True))
    below = top + 14 + max(_ROW * (1 + max(row for row, _, _ in _legend(lines))) for _, _, lines in charts)
    plots: list[tuple[float, float, Plot]] = []
    for x, title, lines in charts:
        texts.append(Text(x, top, title, "soft"))
        keys += [Key(x + left, top + 20 + row * _ROW, line, _key_name(line)) for row, left, line in _legend(lines)]
        plots += [(x, below, drawn)] if (drawn := plot(lines)) else []
    end = below + HEIGHT * _SCALE + 16
    note = f"Layers in the order of the network: 1 is {found.layers[0]}, {len(found.layers)} is {found.layers[-1]}."
    return render(
        "comparison.svg",
        style=_style(),
        width=f"{places[1] + _PANEL + MARGIN:.0f}",
        height=f"{end + MARGIN:.0f}",
        texts=texts,
        note=Text(MARGIN, end, note, "soft"),
        cells=cells,
        keys=keys,
        plots=plots,
        scale=_SCALE,
    )


def _style() -> str:
    charts = style_parts()["charts"].splitlines()
    return image_style(_STYLE + "\n".join(line for line in charts if not line.startswith(".chart svg")))


def _measures(found: Comparison) -> tuple[float, float, float]:
    """Return how wide the names beside a matrix are, how large its cells, and how high the names above it."""
    names = 14 + _LETTER * max(len(_short(source)) for source in found.sources)
    # Names stand above at 45 degrees, the last one beyond its column.
    cell = min(44.0, (_PANEL - 1.5 * names) / len(found.sources))
    return names, cell, 20 + 0.72 * names


def _matrices(found: Comparison, places: tuple[float, float]) -> Iterator[tuple[float, str, Layers, float]]:
    titles = ("Cosine of the changes", "Equal signs among the entries that both moved (0.5 by chance)")
    for x, title, values, chance in zip(places, titles, (found.cosines, found.agreement), (0.0, 0.5), strict=True):
        yield x, title, {pair: layers[""] for pair, layers in values.items()}, chance


def _names(sources: Sequence[str], corner: tuple[float, float], cell: float) -> Iterator[Text]:
    left, top = corner
    for row, source in enumerate(sources):
        short, middle = _short(source), (row + 0.5) * cell
        title = source if short != source else ""
        yield Text(left - 8, top + middle + 4, short, "ink", "end", title)
        yield Text(left + middle + 4, top - 6, short, "ink", turned=True)


def _cells(
    sources: Sequence[str], values: Layers, corner: tuple[float, float], size: float, chance: float
) -> Iterator[Cell]:
    left, top = corner
    for row, source in enumerate(sources):
        for column, other in enumerate(sources):
            value = 1.0 if row == column else values[f"{min(source, other)}|{max(source, other)}"]
            text = MISSING if value is None else f"{value:.2f}".replace("-", MINUS)
            above = 0.0 if value is None else (value - chance) / (1 - chance)
            kind, tint = "heat" if above > 0 else "cold", 0.76 * min(abs(above), 1.0)
            yield Cell(left + column * size, top + row * size, size, text, f"{source} / {other}", kind, tint)


def _lines_by_layer(found: Comparison) -> tuple[list[Line], list[Line]]:
    cosines = {pair_name(pair): [own[layer] for layer in found.layers] for pair, own in found.cosines.items()}
    lengths = {source: [found.lengths[source][layer] for layer in found.layers] for source in found.sources}
    return _lines(cosines), _lines(lengths)


def _lines(values: Mapping[str, Sequence[float | None]]) -> list[Line]:
    """Return one line a name, or mean and range where so many lines could not be distinguished."""
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


def _legend(lines: Sequence[Line]) -> list[tuple[int, float, Line]]:
    """Return the row of each line in the legend, and how far from its left end it stands."""
    placed = []
    left, row = 0.0, 0
    for line in lines:
        width = 26 + len(_key_name(line)) * _LETTER + 16
        if left and left + width > _PANEL:
            left, row = 0.0, row + 1
        placed.append((row, left, line))
        left += width
    return placed


def _key_name(line: Line) -> str:
    return _short(line.label, 2 * _LONGEST)


def _short(name: str, longest: int = _LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
