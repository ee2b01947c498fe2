"""The effect of the merge on each source model: accuracies on every domain before and after, and along the lines."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from hamdg.report.charts import LEFT, RIGHT, WIDTH, Line, Tick, colors, padded_limits, plot
from hamdg.report.figures import Block, Cell, Chart, Heat, heat
from hamdg.report.table import MISSING, metric_title, percent, signed_points
from hamdg.runs.figures import heat_map
from hamdg.runs.lines import LineFacts
from hamdg.runs.record import Record, Row, known
from hamdg.text import listed_in_words

_SOURCE = "source/"
_HELD_OUT = "held out"


@dataclass(frozen=True)
class BeforeAfter:
    """The section on what the merge does.

    Args:
        lead: What it did, in words.
        table: Accuracies of the models on every domain; `None` if they were not measured.
        frames: What is framed in it; empty for nothing.
        lines: The charts along the lines to the result; `None` likewise.
        note: What the charts show.
        pairs: The charts along the lines between the models; `None` likewise.
    """

    lead: str
    table: Heat | None
    frames: str
    lines: Block | None
    note: str
    pairs: Block | None = None


def before_after(record: Record, lines: LineFacts | None) -> BeforeAfter | None:
    """Return what the merge did to the source models; `None` where nothing was measured.

    Args:
        record: The run.
        lines: Accuracies along the lines, where measured.
    """
    rows = {row["key"]: row for row in record["rows"] if row.get("sources")}
    result = record["rows"][-1]
    models = [row for key, row in rows.items() if key.startswith(_SOURCE) and key != result["key"]]
    measured = bool(models) and result["key"] in rows
    table = _table(record, models, result) if measured else None
    charts = None if lines is None else _charts(record, lines)
    if table is None and charts is None:
        return None
    pairs = None if lines is None else _pair_charts(record, lines)
    framed = table is not None and any("framed" in cell.kind for cells in table.rows.values() for cell in cells)
    frames = "Framed: a model on its own domain." if framed else ""
    lead = _lead(record, models, result) if measured else ""
    return BeforeAfter(lead, table, frames, charts, _note(record, lines), pairs)


def _values(record: Record, row: Row) -> dict[str, float | None]:
    """Return a row's metric on every domain, held-out ones last."""
    own: dict[str, float | None] = {name: row.get("sources", {}).get(name) for name in record["sources"]}
    for name in record["targets"]:
        value = row["targets"].get(name, {}).get(record["metric"])
        own[name] = value if isinstance(value, float) else None
    return own


def _table(record: Record, models: Sequence[Row], result: Row) -> Heat | None:
    start = [row for row in record["rows"] if row["key"] == "zero_shot" and row.get("sources")]
    shown = {row["label"]: _values(record, row) for row in (*start, *models, result)}
    domains = [*record["sources"], *record["targets"]]
    found = [value for own in shown.values() for value in own.values() if value is not None and known(value)]
    lowest = math.floor(10 * min(found, default=0.0)) / 10
    columns = [*record["sources"], *(f"{name} ({_HELD_OUT})" for name in record["targets"])]
    values = {label: [own[name] for name in domains] for label, own in shown.items()}
    drawn = heat(
        heat_map("", columns, values, limits=(min(lowest, 0.9), 1.0), percent=True), own=result["label"], digits=1
    )
    if drawn is None:
        return None
    mine = {row["label"]: domains.index(own) for row in models if (own := _domain(row)) in domains}
    cells = {label: _framed(row, mine.get(label)) for label, row in drawn.rows.items()}
    return replace(drawn, rows=cells, tall=False, corner="model")


def _framed(cells: Sequence[Cell], own: int | None) -> list[Cell]:
    """Return the cells of a row, the one of the model's own domain in a frame."""
    return [
        replace(cell, kind=f"{cell.kind} framed".strip()) if index == own else cell for index, cell in enumerate(cells)
    ]


def _domain(row: Row) -> str:
    return row["key"].removeprefix(_SOURCE)


def _lead(record: Record, models: Sequence[Row], result: Row) -> str:
    """Return what the merge cost the source models at home and brought on the held-out domains."""
    after = _values(record, result)
    home = []
    for row in models:
        before, own = row.get("sources", {}).get(_domain(row)), after.get(_domain(row))
        if before is not None and own is not None:
            home.append(f"{signed_points(own - before)} ({_domain(row)})")
    best = max(models, key=lambda row: row["held_out"] if known(row["held_out"]) else -1.0)
    away = signed_points(result["held_out"] - best["held_out"])
    where = listed_in_words(record["targets"])
    if not home:
        whom = f"the result differs from the best of the models that were merged, {_domain(best)},"
        return f"On {where}, {whom} by {away} points."
    told = f"On their own domains, the result differs from the source models by {listed_in_words(home)} points."
    return f"{told} On {where}, it differs from the best of them, {_domain(best)}, by {away} points."


def _charts(record: Record, lines: LineFacts) -> Block | None:
    """Return one chart a domain, with a line from each model to the result."""
    labels = {row["key"]: row["label"] for row in record["rows"]}
    names = {key: _domain_or_label(key, labels) for key in lines["lines"]}
    own = [name for key, name in names.items() if key.startswith(_SOURCE)]
    domains = [*record["sources"], *record["targets"]]
    place = colors([*(name for name in domains if name in own), *(n for n in names.values() if n not in own)])
    values = {names[key]: line for key, line in lines["lines"].items()}
    dashed = {name for key, name in names.items() if not key.startswith(_SOURCE)}
    return _drawn(record, lines["at"], values, place, ("model alone", "result"), dashed)


def _pair_charts(record: Record, lines: LineFacts) -> Block | None:
    """Return one chart a domain, with a line between each two models; one to a model that is no row is dashed."""
    rows, values, dashed = {row["key"] for row in record["rows"]}, {}, set()
    named = ("first", "second")
    for pair in (pairs := lines.get("pairs", [])):
        ends = (pair["first"].removeprefix(_SOURCE), pair["last"].removeprefix(_SOURCE))
        name = " to ".join(ends)
        values[name] = pair["values"]
        if pair["last"] not in rows:
            dashed.add(name)
        # One line has no legend, which would name its ends.
        named = ends if len(pairs) == 1 else named
    return _drawn(record, lines["at"], values, colors(list(values)), named, dashed)


def _drawn(
    record: Record,
    at: Sequence[float],
    lines: Mapping[str, Mapping[str, Sequence[float | None]]],
    place: Mapping[str, int],
    ends: tuple[str, str],
    dashed: Collection[str] = (),
) -> Block | None:
    """Return one chart a domain with a line for each name, all of one axis; `None` where nothing was measured."""
    values = [value for line in lines.values() for one in line.values() for value in one if value is not None]
    if not values:
        return None
    low, high = padded_limits([100 * value for value in values])
    charts = []
    for domain in (*record["targets"], *record["sources"]):
        drawn = [
            Line(
                name,
                at,
                [math.nan if value is None else 100 * value for value in line[domain]],
                place[name],
                "dashed" if name in dashed else "solid",
            )
            for name, line in lines.items()
            if domain in line
        ]
        body = plot(drawn, (low, min(high, 100.0)))
        if body is not None:
            ticks = [Tick(LEFT, ends[0], anchor="start"), Tick(WIDTH - RIGHT, ends[1], anchor="end")]
            title = f"{domain}, {_HELD_OUT}" if domain in record["targets"] else domain
            charts.append(Chart(title, "", replace(body, step_ticks=ticks), place, []))
    return Block("charts", charts, place) if charts else None


def _domain_or_label(key: str, labels: Mapping[str, str]) -> str:
    return key.removeprefix(_SOURCE) if key.startswith(_SOURCE) else labels.get(key, key)


def _note(record: Record, lines: LineFacts | None) -> str:
    if lines is None:
        return ""
    counts = sorted(set(lines["images"].values()))
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}" if counts else MISSING
    spacing = percent(lines["at"][1]) if len(lines["at"]) > 1 else MISSING
    return (
        f"{metric_title(record['metric'])} in per cent, on {images} images of a domain, of the weights on "
        f"the straight line from a model to the result, every {spacing.removesuffix('.0')} % of the way. A line "
        "without a dip: the two lie in one valley of the loss, and their average is as good as they are."
        + (f" {note}" if (note := lines.get("note", "")) else "")
    )
