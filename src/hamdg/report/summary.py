"""The parts of the page about the outcome: key figures, result table, per-class accuracy, time and facts."""

from __future__ import annotations

import json

from hamdg.report.html import HeatTable, bar, bar_list, heat_table, section, table
from hamdg.report.markup import NOTHING, Html, joined, tag
from hamdg.report.table import (
    TableRow,
    class_features,
    fewer_images,
    footnotes,
    percent,
    run_table,
    signed_points,
    start_label,
)
from hamdg.runs.record import Record, Row, known, read_before, steps_before


def header(record: Record) -> Html:
    """Return the page's head: what was run, the key figures and everything needed to run it again."""
    rows = run_table(record)
    sources = ", ".join(record["sources"])
    run = f"hamdg · {record['benchmark']} · seed {record['seed']} · run {record['identity']}"
    return tag(
        "header",
        tag("p", run, class_="eyebrow"),
        tag("h1", f"{rows[-1].label}, tested on {record['held_out']}"),
        tag("p", f"Trained on {sources}. {_what_was_read(record)}"),
        _cards(record, rows),
        _facts(record),
    )


def _what_was_read(record: Record) -> str:
    """Say on which images the model is tested, and what the stages noted of having read some of them before."""
    held_out, steps = record["held_out"], record["steps"]
    tested = f"Tested on {record['n_held_out']:,} images of {held_out}"
    earlier = list(read_before(record))
    if any("targets" in steps[name]["reads"] for name in earlier):
        return (
            f"{tested}. The {earlier[0]} step read images of {held_out} before, without their labels: this is "
            "test-time adaptation, not domain generalization."
        )
    if earlier:
        return f"{tested}. The {earlier[0]} step read images of {held_out} before: this is not domain generalization."
    return (
        f"{tested}, none of which was read before the evaluation."
        if all(step["opened"] is not None for step in steps_before(record).values())
        else f"{tested}."
    )


def result_section(record: Record) -> Html:
    """Return the result table with bars and intervals."""
    rows = run_table(record)
    head = [
        tag("th", "model"),
        tag("th", "0 to 100 % correct", class_="barcell"),
        *(tag("th", name, class_="n") for name in ("held out", "gain")),
        *(tag("th", name, class_="n wide") for name in ("80 % part", "validation")),
    ]
    groups = [None, *(row.group for row in rows[:-1])]
    body = [_result_row(row, before, record) for row, before in zip(rows, groups, strict=True)]
    lead = (
        f"Accuracy on all {record['n_held_out']:,} images of {record['held_out']}, in per cent. The interval is one "
        "binomial standard error of this test set to either side; it does not hold the spread between seeds. "
        f"The dashed line is {start_label(record)}. Validation is on the sources' own hold-outs."
    )
    notes = [tag("p", text, class_="note") for text in footnotes([record], [row.label for row in rows])]
    return section("result", "Result", lead, table(head, body, "result"), *notes)


def class_section(record: Record) -> Html:
    """Return the accuracy of every model in every class."""
    rows = run_table(record)
    values = {shown.label: per_class(row) for shown, row in zip(rows, record["rows"], strict=True)}
    heat = HeatTable("", record["classes"], values, digits=0, scale=100.0, own=(rows[-1].label,))
    return section("classes", "Accuracy by class", f"On {record['held_out']}, in per cent.", heat_table(heat))


def per_class(row: Row) -> list[float | None]:
    """Return a row's accuracy in every class of the first target that has them."""
    found = (metrics.get("per_class_accuracy") for metrics in row["targets"].values())
    return next((values for values in found if isinstance(values, list)), [])


def time_section(record: Record) -> Html:
    """Return how long each stage took."""
    stages = {name: seconds for name, seconds in record["timings"].items() if name != "total"}
    total = record["timings"].get("total", sum(stages.values()))
    return section("time", "Time", f"{total:.1f} s in all.", bar_list(stages, " s", 1))


def config_section(record: Record) -> Html:
    """Return the full configuration, folded."""
    text = json.dumps(record["config"], indent=2, sort_keys=False)
    return tag("section", tag("details", tag("summary", "Full configuration"), tag("pre", text)), id="config")


def _cards(record: Record, rows: list[TableRow]) -> Html:
    own = rows[-1]
    cards = [_card(f"on {record['held_out']}", percent(own.held_out), f" ± {percent(own.standard_error)} %", "first")]
    if own.gain is not None:
        cards.append(_card(f"over {start_label(record)}", signed_points(own.gain), " points"))
    rival = next((row for row in rows if row.key in record["controls"][-1:]), None)
    if rival is not None:
        difference = signed_points(own.held_out - rival.held_out)
        cards.append(_card(f"against {rival.label}", difference, " points"))
    if known(record["validation_accuracy"]):
        cards.append(_card("source validation", percent(record["validation_accuracy"]), " %"))
    return tag("div", *cards, class_="cards")


def _card(name: str, figure: str, unit: str, kind: str = "") -> Html:
    return tag(
        "div", tag("span", name, class_="soft"), tag("b", figure, tag("small", unit)), class_=f"card {kind}".rstrip()
    )


def _facts(record: Record) -> Html:
    facts = {
        "Sources": ", ".join(record["sources"]),
        **_head(record),
        "Training budget": f"{record['images_seen']:,} images in the models' own batches",
        **_pictures(record),
        "Data digest": tag("code", record["data_digest"]),
        "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    lines = [part for name, value in facts.items() for part in (tag("dt", name), tag("dd", value))]
    return joined([tag("dl", *lines, class_="facts"), tag("pre", record["command"])])


def _head(record: Record) -> dict[str, str]:
    """Say what stands for the classes."""
    if learned := class_features(record):
        return {"Class features": learned}
    return {"Prompts": " · ".join(record["prompts"])}


def _pictures(record: Record) -> dict[str, str]:
    """Say which copy of a benchmark was used (the embedded one has none), and which of its images were not."""
    card, fewer = record.get("data"), fewer_images(record)
    left_out = {"Images used": fewer} if fewer else {}
    if card is None:
        return left_out
    copy = (
        f"by their numbers {card['title']}, {card['version']}" if card["version"] else "no known copy of the benchmark"
    )
    truncated = "; truncated files are read as far as they go" if card.get("truncated") == "read" else ""
    return {"Images": f"{card['pictures']:,}, {copy}{truncated}"} | left_out


def _result_row(row: TableRow, group_before: str | None, record: Record) -> Html:
    kind = "own" if row.is_result else ("group" if group_before not in (None, row.group) else None)
    note = tag("div", row.note, class_="note") if row.note else NOTHING
    gain = "" if row.key == "zero_shot" else signed_points(row.gain)
    interval = bar(
        row.held_out, "own" if row.is_result else row.group, row.standard_error, record["zero_shot_accuracy"]
    )
    return tag(
        "tr",
        tag("td", row.label, note, class_="name"),
        tag("td", interval, class_="barcell"),
        tag("td", tag("span", percent(row.held_out), class_="figure"), f" ± {percent(row.standard_error)}", class_="n"),
        tag("td", gain, class_="n"),
        tag("td", percent(row.in80), class_="n wide"),
        tag("td", percent(row.validation), class_="n wide"),
        class_=kind,
    )
