"""The report of one run: a single HTML file that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hamdg.files import write_text
from hamdg.report import result
from hamdg.report.figures import BarList, Block, StepData, bar_list, blocks
from hamdg.report.metrics import Metrics, read_metrics
from hamdg.report.rendering import render, style
from hamdg.report.samples import Images, read_images
from hamdg.report.table import class_features, fewer_images, footnotes, run_table
from hamdg.runs.figures import bars
from hamdg.runs.record import Record, StepRecord, read_record, steps_before
from hamdg.text import listed_in_words


@dataclass(frozen=True)
class StepSection:
    """The part of the page about one step."""

    name: str
    title: str
    lead: str
    blocks: list[Block]


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory, from its record and the files that its figures name.

    Args:
        run: A directory with `record.json`; what else is missing is left out of the page.

    Returns:
        The path of the page.

    Raises:
        DataError: There is no `record.json`, or a file is not as expected.
    """
    record = read_record(run)
    page = run / "report.html"
    write_text(page, report_html(record, read_steps(run, record)))
    return page


def read_steps(run: Path, record: Record) -> dict[str, StepData]:
    """Return what the steps of a run left in files, by step.

    Raises:
        DataError: A file is not as expected.
    """
    found = {}
    for index, (name, step) in enumerate(steps_before(record).items()):
        metrics = run / name / "metrics.csv"
        # Runs of the first version have one file, of their training.
        if index == 0 and not metrics.is_file():
            metrics = run / "metrics.csv"
        measured = read_metrics(metrics) if metrics.is_file() else Metrics({})
        found[name] = StepData(measured, _read_all_images(run, step))
    return found


def _read_all_images(run: Path, step: StepRecord) -> dict[str, Images]:
    names = {figure["file"] for figure in step["figures"] if figure["kind"] == "images"}
    # A record is not trusted to name files outside its run.
    inside = {name: run / name for name in names if (run / name).resolve().is_relative_to(run.resolve())}
    return {name: read_images(path) for name, path in inside.items() if path.is_file()}


def report_html(record: Record, found: Mapping[str, StepData]) -> str:
    """Return the whole page; parts without data are left out.

    Args:
        record: The run.
        found: What its steps left in files, by step.
    """
    rows = run_table(record)
    own, domains = rows[-1], result.targets(record)
    return render(
        "page.html",
        style=style(),
        title=f"{own.label} on {domains}, {record['benchmark']}, seed {record['seed']}",
        heading=f"{own.label}, tested on {domains}",
        record=record,
        sources=listed_in_words(record["sources"]),
        was_read=result.what_was_read(record),
        cards=result.cards(record),
        facts=_facts(record),
        result=result.result(record),
        footnotes=footnotes([record], [row.label for row in rows]),
        steps=[section for name in steps_before(record) if (section := _section(name, record, found)).blocks],
        classes=result.by_class(record),
        metrics=result.other_metrics(record),
        domains=domains,
        time=_time(record),
        total=record["timings"].get("total", sum(record["timings"].values())),
        config=json.dumps(record["config"], indent=2, sort_keys=False),
    )


def _section(name: str, record: Record, found: Mapping[str, StepData]) -> StepSection:
    step = record["steps"][name]
    drawn = blocks(step["figures"], found.get(name, StepData()), record["sources"], record["layers"])
    title = name.replace("-", " ").replace("_", " ")
    return StepSection(name, title[:1].upper() + title[1:], _lead(step, record), drawn)


def _lead(step: StepRecord, record: Record) -> str:
    """Return whose images a step read, in words."""
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
    elif record["prompts"]:
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
