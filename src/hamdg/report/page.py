"""The report of one run: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hamdg.files import write_text
from hamdg.report import result
from hamdg.report.before_after import before_after
from hamdg.report.by_class import by_class, distinct_labels
from hamdg.report.calibration import calibration
from hamdg.report.confusion import confusion
from hamdg.report.evidence import Evidence, read_evidence
from hamdg.report.figures import BarList, Block, StepData, bar_list, blocks
from hamdg.report.mistakes import mistakes, wrong_count
from hamdg.report.remarks import remarks
from hamdg.report.rendering import render, style
from hamdg.report.table import (
    average_notes,
    batchnorm_notes,
    class_features,
    fewer_images,
    footnotes,
    metric_title,
    run_table,
)
from hamdg.report.worst_maps import worst_maps
from hamdg.runs.figures import bars
from hamdg.runs.predictions import MapPredictions, TargetPredictions
from hamdg.runs.record import Record, StepRecord, read_record, steps_before
from hamdg.text import capitalized, listed_in_words

# What a mean over classes is a mean of.
_PER_CLASS = {"mIoU": "IoU"}


@dataclass(frozen=True)
class StepSection:
    """The part of the page about one step."""

    name: str
    title: str
    lead: str
    blocks: list[Block]


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory, from its record and what lies beside it.

    Args:
        run: A directory with `record.json`; what else is missing is left out of the page.

    Returns:
        The path of the page.

    Raises:
        DataError: There is no `record.json`, or a file is not as expected.
    """
    record = read_record(run)
    page = run / "report.html"
    write_text(page, report_html(record, read_evidence(run, record)))
    return page


def report_html(record: Record, found: Evidence) -> str:
    """Return the whole page; parts without data are left out.

    Args:
        record: The run.
        found: What else it left.
    """
    rows = run_table(record)
    own, domains = rows[-1], result.targets(record)
    predicted = list(_predicted(record, found))
    pictures = mistakes(found.predictions, own.key, record["classes"]) if found.predictions is not None else []
    return render(
        "page.html",
        style=style(),
        title=f"{own.label} on {domains}, {record['benchmark']}, seed {record['seed']}",
        heading=f"{own.label}, tested on {domains}",
        record=record,
        sources=listed_in_words(record["sources"]),
        was_read=result.what_was_read(record),
        cards=result.cards(record),
        remarks=remarks(record, found),
        result=result.result(record),
        footnotes=[
            *average_notes([(record["label"], record.get("average", "arithmetic"))]),
            *batchnorm_notes([(record["label"], record.get("batchnorm", ""))]),
            *footnotes([record], [row.label for row in rows]),
        ],
        confusions=[confusion(name, one, models, record["classes"]) for name, one, models in predicted],
        mistakes=pictures,
        worst=worst_maps(found.predictions, own.key, record["classes"]) if found.predictions is not None else None,
        wrong=_wrong(found, own.key),
        calibrations=[
            drawn
            for name, one, models in predicted
            if isinstance(one, TargetPredictions) and (drawn := calibration(name, one, models)) is not None
        ],
        classes=by_class(record),
        metrics=result.other_metrics(record),
        merging=before_after(record, found.lines),
        steps=[section for name in steps_before(record) if (section := _section(name, record, found.steps)).blocks],
        related=found.related,
        domains=domains,
        facts=_facts(record),
        time=_time(record),
        total=record["timings"].get("total", sum(record["timings"].values())),
        by_class_metric=metric_title(_PER_CLASS.get(record["metric"], record["metric"])),
        metric=metric_title(record["metric"]),
        config=json.dumps(record["config"], indent=2, sort_keys=False),
    )


def _wrong(found: Evidence, key: str) -> int | None:
    """Return how many images the result takes for another class; `None` where images have no class."""
    if found.predictions is None:
        return 0
    return None if found.predictions.maps else wrong_count(found.predictions, key)


def _predicted(
    record: Record, found: Evidence
) -> Iterator[tuple[str, TargetPredictions | MapPredictions, dict[str, str]]]:
    """Yield each target, what was predicted on it, and the labels of the models to show: result, control, start."""
    targets: dict[str, TargetPredictions | MapPredictions] = {}
    if found.predictions is not None:
        targets = {**found.predictions.targets, **found.predictions.maps}
    rows = run_table(record)
    labels = dict(zip((row.key for row in rows), distinct_labels(rows), strict=True))
    keys = [record["rows"][-1]["key"], *record["controls"][-1:], "zero_shot"]
    for name in record["targets"]:
        one = targets.get(name)
        if one is not None and keys[0] in one.predicted:
            yield name, one, {key: labels[key] for key in keys if key in one.predicted and key in labels}


def _section(name: str, record: Record, found: Mapping[str, StepData]) -> StepSection:
    step = record["steps"][name]
    drawn = blocks(step["figures"], found.get(name, StepData()), record["sources"], record["layers"])
    title = name.replace("-", " ").replace("_", " ")
    return StepSection(name, capitalized(title), _lead(step, record), drawn)


def _lead(step: StepRecord, record: Record) -> str:
    """Return a sentence or two on whose images a step read."""
    if step["opened"] is not None:
        read = f"Read images of {listed_in_words(step['opened'])}." if step["opened"] else "Read no images."
    else:
        names = {"sources": "the source domains", "targets": f"{result.targets(record)}, without labels"}
        read = f"May read images of {listed_in_words([names[one] for one in step['reads']])}." if step["reads"] else ""
    seen = f" Its models saw {step['images_seen']:,} images in their own batches." if step["images_seen"] else ""
    return f"{read}{seen}".strip()


def _facts(record: Record) -> dict[str, str]:
    """Return what is needed to read the result and to repeat it."""
    facts = {"Sources": ", ".join(record["sources"])}
    if learned := class_features(record):
        facts["Class features"] = learned
    if record["prompts"] and record.get("class_features", {}).get("kind", "prompts") == "prompts":
        facts["Prompts"] = " · ".join(record["prompts"])
    facts["Training budget"] = f"{record['images_seen']:,} images in the models' own batches"
    if (card := record.get("data")) is not None:
        copy = (
            f"by their numbers {card['title']}, {card['version']}"
            if card["version"]
            else "no known copy of the benchmark"
        )
        truncated = "; truncated files are read as far as they go" if card.get("truncated") == "read" else ""
        facts["Images"] = f"{card['pictures']:,}, {copy}{truncated}"
    if fewer := fewer_images(record):
        facts["Images used"] = fewer
    return facts | {
        "Data digest": record["data_digest"],
        "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }


def _time(record: Record) -> BarList | None:
    """Return how long each step took."""
    seconds = {name: value for name, value in record["timings"].items() if name != "total"}
    return bar_list(bars("", seconds, digits=1), unit=" s")
