"""The report of one run: a single HTML file that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from hamdg.files import write_text
from hamdg.report.geometry import direction_section, merge_section
from hamdg.report.markup import Html, joined, tag
from hamdg.report.measurements import Measurements, read_measurements
from hamdg.report.samples import Sample, read_samples
from hamdg.report.style import STYLE
from hamdg.report.summary import class_section, config_section, header, result_section, time_section
from hamdg.report.table import run_table
from hamdg.report.training import curves_section, enrichment_section
from hamdg.runs.record import Record, read_record


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory, from its record, measurements and samples.

    Args:
        run: A directory with `record.json`; what else is missing is left out of the page.

    Returns:
        The path of the page.

    Raises:
        DataError: There is no `record.json`, or a file is not as expected.
    """
    record = read_record(run)
    metrics, pictures = run / "metrics.csv", run / "samples.npz"
    measured = read_measurements(metrics) if metrics.is_file() else Measurements({})
    samples = read_samples(pictures) if pictures.is_file() else []
    page = run / "report.html"
    write_text(page, report_html(record, measured, samples))
    return page


def report_html(record: Record, measured: Measurements, samples: list[Sample]) -> str:
    """Return the whole page; parts without data (a run without enrichment or merge) are left out."""
    title = f"{run_table(record)[-1].label} on {record['held_out']}, {record['benchmark']}, seed {record['seed']}"
    parts = (
        header(record),
        result_section(record),
        curves_section(record, measured),
        enrichment_section(record, measured, samples),
        direction_section(measured),
        merge_section(record),
        class_section(record),
        time_section(record),
        config_section(record),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("main", joined([part for part in parts if part], "\n")))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"
