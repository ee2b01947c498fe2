"""The parts of the page about the training: curves, what enrichment let in, and the images themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamdg.report.charts import Line, line_chart, smoothed
from hamdg.report.html import charts, colors, legend, section, table
from hamdg.report.markup import NOTHING, Html, joined, tag
from hamdg.report.measurements import Measurements, Series
from hamdg.report.samples import Sample, data_uri, spread
from hamdg.report.table import MISSING, percent
from hamdg.runs.record import Record, selection_counts
from hamdg.runs.selection import SelectionCounts

_TILES = 10
_SHORTEST_WINDOW = 9
_POOLED = "all sources"


def curves_section(record: Record, measured: Measurements) -> Html:
    """Return loss, validation accuracy and gradient norm over the steps."""
    validations = measured.by_source("validation/accuracy")
    palette = _palette(record, [*measured.by_source("loss"), *validations])
    loss = _smooth_lines(measured.by_source("loss"), palette)
    norms = _smooth_lines(measured.by_source("gradient_norm"), palette)
    accuracies = {name: _scaled(series, 100.0) for name, series in validations.items()}
    figures = charts(
        line_chart("Loss", loss),
        line_chart("Accuracy on the own hold-out, %", _lines(accuracies, palette)),
        line_chart("Gradient norm before clipping", norms),
    )
    lead = "Each color is one source model; all advance in lock-step. Faint lines are single steps."
    if record["algorithm"] == "erm":
        lead = "One model on the pooled sources. Faint lines are single steps."
    return section("training", "Training", lead, legend(palette) if figures else NOTHING, figures)


def enrichment_section(record: Record, measured: Measurements, samples: Sequence[Sample]) -> Html:
    """Return rates, thresholds and counts of the enrichment, and images it let in and kept out."""
    counts = selection_counts(record)
    if counts is None:
        return NOTHING
    palette = colors(record["sources"])
    added = measured.by_source("enrichment/added")
    candidates = measured.by_source("enrichment/candidates")
    rates = _ratios(added, candidates)
    noisy = _ratios(measured.by_source("enrichment/noisy_added"), added)
    pool = _ratios(measured.by_source("enrichment/noisy_candidates"), candidates)
    noise_lines = _lines(noisy, palette) + _lines(pool, palette, "dashed")
    figures = charts(
        line_chart("Let in, % of the candidates", _lines(rates, palette), (0.0, 100.0)),
        line_chart("Threshold: mean confidence on the own batch", _smooth_lines(_thresholds(measured), palette)),
        line_chart("Wrong labels, %", noise_lines),
    )
    lead = (
        "At each step a model is offered the other sources' batches and takes in what it is more confident about than "
        "it is, on average, about its own batch."
    )
    names = legend(palette, "among the candidates" if pool else "") if figures else NOTHING
    return section(
        "enrichment", "Enrichment", lead, _counts_table(counts), names, figures, _sheets(record["sources"], samples)
    )


def _thresholds(measured: Measurements) -> dict[str, Series]:
    return measured.by_source("enrichment/threshold")


def _palette(record: Record, names: Sequence[str]) -> dict[str, int]:
    """Return the colors of the sources that occur, each by its place among all, and of whatever else occurs."""
    extra = dict.fromkeys(name or _POOLED for name in names if name not in record["sources"])
    used = [name for name in record["sources"] if name in names]
    everything = colors([*record["sources"], *extra])
    return {name: everything[name] for name in [*used, *extra]}


def _lines(series: Mapping[str, Series], palette: Mapping[str, int], kind: str = "solid") -> list[Line]:
    return [
        Line(name or _POOLED, line.steps, line.values, palette.get(name or _POOLED, 0), kind)
        for name, line in series.items()
    ]


def _smooth_lines(series: Mapping[str, Series], palette: Mapping[str, int]) -> list[Line]:
    """Return each series smoothed over its own faint raw values; short ones as they are."""
    if all(len(line.steps) <= 2 * _SHORTEST_WINDOW for line in series.values()):
        return _lines(series, palette)
    smooth = {name: Series(line.steps, tuple(_smooth(line.values))) for name, line in series.items()}
    return _lines(series, palette, "faint") + _lines(smooth, palette)


def _smooth(values: Sequence[float]) -> list[float]:
    return smoothed(values, max(_SHORTEST_WINDOW, len(values) // 20))


def _scaled(series: Series, factor: float) -> Series:
    return Series(series.steps, tuple(factor * value for value in series.values))


def _ratios(parts: Mapping[str, Series], wholes: Mapping[str, Series]) -> dict[str, Series]:
    """Return `100 * part / whole`, both smoothed first so that steps with few images do not jump about."""
    found = {}
    for name, part in parts.items():
        whole = wholes.get(name)
        if whole is not None and whole.steps == part.steps:
            above, below = _smooth(part.values), _smooth(whole.values)
            values = (100.0 * a / b if b > 0 else float("nan") for a, b in zip(above, below, strict=True))
            found[name] = Series(part.steps, tuple(values))
    return found


def _counts_table(counts: Mapping[str, SelectionCounts]) -> Html:
    with_noise = any(count["noisy_candidates"] is not None for count in counts.values())
    names = ["offered", "let in", "share, %"]
    if with_noise:
        names += ["wrong labels offered, %", "wrong labels let in, %"]
    head = [tag("th", "model"), *(tag("th", name, class_="n") for name in names)]
    return table(head, [_counts_row(name, count, with_noise) for name, count in counts.items()])


def _counts_row(name: str, count: SelectionCounts, with_noise: bool) -> Html:
    cells = [f"{count['candidates']:,}", f"{count['added']:,}", _share(count["added"], count["candidates"])]
    if with_noise:
        cells += [
            _share(count["noisy_candidates"], count["candidates"]),
            _share(count["noisy_added"], count["added"]),
        ]
    return tag("tr", tag("td", name), *(tag("td", cell, class_="n") for cell in cells))


def _share(part: int | None, whole: int) -> str:
    return MISSING if part is None or whole == 0 else percent(part / whole)


def _sheets(sources: Sequence[str], samples: Sequence[Sample]) -> Html:
    if not samples:
        return NOTHING
    note = (
        "Some of the images that each model was offered, from early steps to late ones. The strip below an image is "
        "the model's confidence, the tick its threshold at that step."
    )
    if any(sample.mislabeled for sample in samples):
        note += " A red frame: training sees a wrong label."
    sheets = [_sheet(name, [sample for sample in samples if sample.model == name]) for name in sources]
    return joined([tag("h3", "Let in, kept out"), tag("p", note, class_="note"), *sheets])


def _sheet(model: str, samples: Sequence[Sample]) -> Html:
    let_in = spread([sample for sample in samples if sample.accepted], _TILES)
    kept_out = spread([sample for sample in samples if not sample.accepted], _TILES)
    strips = [_strip("in", "let in", let_in), _strip("out", "kept out", kept_out)]
    return tag("div", tag("h3", f"The {model} model"), *strips, class_="sheet") if any(strips) else NOTHING


def _strip(kind: str, title: str, samples: Sequence[Sample]) -> Html:
    if not samples:
        return NOTHING
    tiles = tag("div", *(_tile(sample) for sample in samples), class_="tiles")
    return tag("div", tag("b", title), tiles, class_=f"strip {kind}")


def _tile(sample: Sample) -> Html:
    tip = (
        f"step {sample.step}, from {sample.domain}, confidence {sample.confidence:.3f}, "
        f"threshold {sample.threshold:.3f}"
    )
    confidence, threshold = f"width:{100 * sample.confidence:.1f}%", f"left:{100 * sample.threshold:.1f}%"
    return tag(
        "div",
        tag("img", src=data_uri(sample.image), alt=sample.label),
        tag("div", tag("i", style=confidence), tag("u", style=threshold), class_="gauge"),
        f"{sample.label} {sample.confidence:.2f}",
        tag("span", f"true: {sample.clean_label}") if sample.mislabeled else NOTHING,
        tag("div", sample.domain, class_="soft"),
        class_="tile wrong" if sample.mislabeled else "tile",
        title=tip,
    )
