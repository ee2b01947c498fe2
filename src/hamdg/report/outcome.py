"""The parts of the page about the outcome: key figures, result table, per-class accuracy, time and facts."""

from __future__ import annotations

import json
from html import escape

from hamdg.report.contract import Record, known
from hamdg.report.elements import HeatTable, bar, bar_list, heat_table, section
from hamdg.report.table import FOOTNOTE, TableRow, percent, run_table, shows_ham, signed_points

_RIVALS = ("erm_sma", "erm")


def header(record: Record) -> str:
    """Return the page's head: what was run, the key figures and everything needed to run it again."""
    rows = run_table(record)
    sources = ", ".join(record["sources"])
    return (
        f'<header><p class="eyebrow">hamdg · {escape(record["benchmark"])} · seed {record["seed"]} · '
        f"run {escape(record['identity'])}</p>"
        f"<h1>{escape(rows[-1].label)}, tested on {escape(record['held_out'])}</h1>"
        f"<p>{escape(f'Trained on {sources}. {_what_was_read(record)}')}</p>"
        f"{_cards(record, rows)}{_facts(record)}</header>"
    )


def _what_was_read(record: Record) -> str:
    """Say on which images the model is tested, and what the stages noted of having read some of them before."""
    held_out, opened, merge = record["held_out"], record.get("opened", {}), record["merge"]
    tested = f"Tested on {record['n_held_out']:,} images of {held_out}"
    earlier = [stage for stage, domains in opened.items() if stage != "evaluate" and held_out in domains]
    if "merge" in earlier or (merge is not None and merge.get("target_data")):
        return (
            f"{tested}. The merge read images of {held_out} before, without their labels: this is test-time "
            "adaptation, no domain generalization."
        )
    if earlier:
        return f"{tested}. The {earlier[0]} stage read images of {held_out} before: this is no domain generalization."
    return (
        f"{tested}, none of which was read before the evaluation."
        if {"train", "merge"} <= opened.keys()
        else f"{tested}."
    )


def result_section(record: Record) -> str:
    """Return the result table with bars and intervals."""
    rows = run_table(record)
    head = (
        '<tr><th>model</th><th class="barcell">0 to 100 % correct</th><th class="n">held out</th>'
        '<th class="n">gain</th><th class="n wide">80 % part</th><th class="n wide">validation</th></tr>'
    )
    groups = [None, *(row.group for row in rows[:-1])]
    body = "".join(_result_row(row, before, record) for row, before in zip(rows, groups, strict=True))
    lead = (
        f"Accuracy on all {record['n_held_out']:,} images of {record['held_out']}, in per cent. The interval is one "
        "binomial standard error of this test set to either side; it does not hold the spread between seeds. "
        "The dashed line is zero-shot. Validation is on the sources' own hold-outs."
    )
    footnote = f'<p class="note">{escape(FOOTNOTE)}</p>' if shows_ham([row.label for row in rows]) else ""
    table = f'<div class="scroll"><table class="result"><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    return section("result", "Result", lead, table, footnote)


def class_section(record: Record) -> str:
    """Return the accuracy of every model in every class."""
    rows = run_table(record)
    values = {shown.label: row["per_class"] for shown, row in zip(rows, record["rows"], strict=True)}
    table = HeatTable("", record["classes"], values, digits=0, scale=100.0, own=(rows[-1].label,))
    return section("classes", "Accuracy by class", f"On {record['held_out']}, in per cent.", heat_table(table))


def time_section(record: Record) -> str:
    """Return how long each stage took."""
    stages = {name: seconds for name, seconds in record["timings"].items() if name != "total"}
    total = record["timings"].get("total", sum(stages.values()))
    return section("time", "Time", f"{total:.1f} s in all.", bar_list(stages, " s", 1))


def config_section(record: Record) -> str:
    """Return the full configuration, folded."""
    text = escape(json.dumps(record["config"], indent=2, sort_keys=False))
    return f'<section id="config"><details><summary>Full configuration</summary><pre>{text}</pre></details></section>'


def _cards(record: Record, rows: list[TableRow]) -> str:
    own = rows[-1]
    error = f"<small> ± {percent(own.standard_error)} %</small>"
    cards = [_card(f"on {record['held_out']}", percent(own.held_out) + error, "first")]
    cards.append(_card("over zero-shot", f"{signed_points(own.gain)}<small> points</small>"))
    rival = next((row for key in _RIVALS for row in rows[:-1] if row.key == key), None)
    if rival is not None:
        difference = signed_points(own.held_out - rival.held_out)
        cards.append(_card(f"against {rival.label}", f"{difference}<small> points</small>"))
    if known(record["validation_accuracy"]):
        cards.append(_card("source validation", f"{percent(record['validation_accuracy'])}<small> %</small>"))
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(name: str, figure: str, kind: str = "") -> str:
    return f'<div class="card {kind}"><span class="soft">{escape(name)}</span><b>{figure}</b></div>'


def _facts(record: Record) -> str:
    seen = record["images_seen"]
    budget = f"{seen['fresh']:,} images in the models' own batches"
    if seen["with_enrichment"] > seen["fresh"]:
        budget += f", {seen['with_enrichment']:,} with those that enrichment added"
    facts = {
        "Sources": escape(", ".join(record["sources"])),
        "Prompts": escape(" · ".join(record["prompts"])),
        "Training budget": escape(budget),
        **_pictures(record),
        "Data digest": f"<code>{escape(record['data_digest'])}</code>",
        "Versions": escape(", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{lines}</dl><pre>{escape(record["command"])}</pre>'


def _pictures(record: Record) -> dict[str, str]:
    """Say which copy of a benchmark was used; the embedded one has none."""
    card = record.get("data")
    if card is None:
        return {}
    copy = (
        f"by their numbers {card['title']}, {card['version']}" if card["version"] else "no known copy of the benchmark"
    )
    return {"Pictures": escape(f"{card['pictures']:,}, {copy}")}


def _result_row(row: TableRow, group_before: str | None, record: Record) -> str:
    kind = "own" if row.is_result else ("group" if group_before not in (None, row.group) else "")
    note = f'<div class="note">{escape(row.note)}</div>' if row.note else ""
    bar_kind = "own" if row.is_result else row.group
    gain = "" if row.key == "zero_shot" else signed_points(row.gain)
    interval = bar(row.held_out, bar_kind, row.standard_error, record["zero_shot_accuracy"])
    return (
        f'<tr class="{kind}"><td class="name">{escape(row.label)}{note}</td><td class="barcell">{interval}</td>'
        f'<td class="n"><span class="figure">{percent(row.held_out)}</span> ± {percent(row.standard_error)}</td>'
        f'<td class="n">{gain}</td><td class="n wide">{percent(row.in80)}</td>'
        f'<td class="n wide">{percent(row.validation)}</td></tr>'
    )
