"""The parts of the page about directions: update cosines, task vectors, and the coordinates the merge kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamdg.report.charts import Line, line_chart
from hamdg.report.html import (
    PALETTE_SIZE,
    HeatTable,
    bar_list,
    charts,
    colors,
    heat_table,
    legend,
    pair_name,
    section,
    side_by_side,
)
from hamdg.report.markup import NOTHING, Html, tag
from hamdg.report.measurements import Measurements, Series
from hamdg.runs.merge_figures import MergeFacts
from hamdg.runs.record import Record, merge_facts

Layers = Mapping[str, Mapping[str, float]]


def direction_section(measured: Measurements) -> Html:
    """Return the cosines between the update directions of the models, before and after harmonization."""
    before, after = _drawn(measured, "cosine/before"), _drawn(measured, "cosine/after")
    history = _drawn(measured, "cosine/history")
    harmonized = bool(after) and before != after
    palette = colors([pair_name(pair) for pair in before or after or history])
    lines = _lines(before, palette, "dashed" if harmonized else "solid")
    if harmonized:
        lines += _lines(after, palette)
    figures = charts(
        line_chart("Cosine of update directions", lines),
        line_chart("Cosine of task vectors (weights minus start)", _lines(history, palette)),
    )
    tables = [_layer_table("By layer, before harmonization: mean over the steps", _means(measured, "cosine/before"))]
    if harmonized:
        tables.append(
            _layer_table("By layer, after harmonization: mean over the steps", _means(measured, "cosine/after"))
        )
    lead = (
        "Cosine between the update directions of two source models at the same step: 1 is the same direction, "
        "0 unrelated, below 0 they pull against each other."
    )
    names = legend(palette, "before harmonization" if harmonized else "") if figures else NOTHING
    return section("directions", "Update directions", lead, names, figures, side_by_side(*tables))


def merge_section(record: Record) -> Html:
    """Return how alike the historical task vectors are, how long they are and what the merge kept of them."""
    merge = merge_facts(record)
    if merge is None:
        return NOTHING
    whole = {pair: cosines[""] for pair, cosines in merge["cosines"].items() if "" in cosines}
    sources = record["sources"]
    lengths = bar_list(_norms(merge, sources), digits=3, own="merged")
    return section(
        "merge",
        "Merge",
        "What each source's history adds to the start weights (its task vector), and what is left of it in the merge."
        + _method(merge),
        side_by_side(
            tag("div", tag("h3", "Length (L2 norm)"), lengths, class_="grow"),
            tag("div", tag("h3", "Cosine of the task vectors"), heat_table(_matrix(whole, sources))),
        ),
        side_by_side(
            _layer_table(
                "Cosine of the task vectors by layer",
                {pair: _layers_only(cosines) for pair, cosines in merge["cosines"].items()},
            ),
            _kept(merge["kept"]),
        ),
    )


def _method(merge: MergeFacts) -> str:
    if "method" not in merge:
        return ""
    options = ", ".join(f"{name} {value}" for name, value in merge.get("options", {}).items())
    seen = " It saw unlabeled images of the held-out domain." if merge.get("target_data") else ""
    return f" Method: {merge['method']}" + (f" ({options})" if options else "") + f".{seen}"


def _drawn(measured: Measurements, name: str) -> dict[str, Series]:
    """Return the series of all pairs, or their mean where so many lines could not be told apart."""
    pairs = measured.by_source(name)
    series = list(pairs.values())
    if len(series) <= PALETTE_SIZE or any(one.steps != series[0].steps for one in series):
        return pairs
    means = tuple(sum(values) / len(values) for values in zip(*(one.values for one in series), strict=True))
    return {f"mean of {len(series)} pairs": Series(series[0].steps, means)}


def _norms(merge: MergeFacts, sources: Sequence[str]) -> dict[str, float]:
    results = {"plain mean": merge["mean_norm"], "merged": merge["merged_norm"]}
    known = [source for source in sources if source in merge["norms"]]
    # A domain may be called `merged`, too.
    norms = {f"source {name}" if name in results else name: merge["norms"][name] for name in known}
    return norms | results


def _matrix(cosines: Mapping[str, float], sources: Sequence[str]) -> HeatTable:
    def cosine(row: str, column: str) -> float | None:
        return 1.0 if row == column else cosines.get(f"{row}|{column}", cosines.get(f"{column}|{row}"))

    return HeatTable("", sources, {row: [cosine(row, column) for column in sources] for row in sources})


def _kept(kept: Layers) -> Html:
    if not kept:
        return NOTHING
    shares = {value for layers in kept.values() for value in layers.values()}
    title = "Share of the coordinates that the merge kept, %"
    if len({round(share, 2) for share in shares}) == 1:
        title += f": about {100 * shares.pop():.0f} % of each tensor"
    columns = _columns(kept)
    rows = {source: [layers.get(name) for name in columns] for source, layers in kept.items()}
    table = HeatTable(title, [_short(name) for name in columns], rows, digits=0, scale=100.0, tall=True)
    return heat_table(table)


def _layer_table(title: str, cosines: Layers) -> Html:
    columns = _columns(cosines)
    if not columns:
        return NOTHING
    rows = {pair_name(pair): [layers.get(name) for name in columns] for pair, layers in cosines.items()}
    return heat_table(HeatTable(title, [_short(name) for name in columns], rows, tall=True))


def _short(layer: str) -> str:
    return layer.removeprefix("transformer.") or "whole model"


def _columns(layers: Layers) -> list[str]:
    """Return all layers' names in the order in which they first appear."""
    return list(dict.fromkeys(name for own in layers.values() for name in own))


def _layers_only(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name}


def _means(measured: Measurements, name: str) -> dict[str, dict[str, float]]:
    return {
        pair: {layer: series.mean for layer, series in layers.items()}
        for pair, layers in measured.by_layer(name).items()
    }


def _lines(series: Mapping[str, Series], palette: Mapping[str, int], kind: str = "solid") -> list[Line]:
    return [
        Line(pair_name(pair), line.steps, line.values, palette.get(pair_name(pair), 0), kind)
        for pair, line in series.items()
    ]
