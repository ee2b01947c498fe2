"""The page of one run in a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.report.evidence import Evidence, read_evidence
from hamdg.report.page import report_html, write_report
from hamdg.runs.record import Record, read_record
from tests.browser.chromium import Page, Scheme
from tests.browser.looking import WIDTHS, look
from tests.report.made import by_source, evidence, many_classes

Copy = Callable[[str], Path]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def looked(page: Page, file: Path, schemes: Sequence[Scheme] = SCHEMES) -> list[str]:
    return [text for width in WIDTHS for scheme in schemes for text in look(page, file, width, scheme)]


def written(file: Path, record: Record, found: Evidence) -> Path:
    file.write_text(report_html(record, found), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["ham", "erm"])
def test_nothing_is_wrong_with_the_page_of_an_older_run(page: Page, run_copy: Copy, name: str) -> None:
    assert looked(page, write_report(run_copy(name)), ("light",)) == []


def test_nothing_is_wrong_with_the_page_of_a_run(page: Page, run_copy: Copy, tmp_path: Path) -> None:
    run = run_copy("ham")
    record = by_source(read_record(run))
    found = replace(read_evidence(run, record), predictions=evidence(record).predictions, lines=evidence(record).lines)
    assert looked(page, written(tmp_path / "report.html", record, found)) == []


def test_long_names_stay_on_the_page_of_a_run(page: Page, ham: Record, tmp_path: Path) -> None:
    record, name = by_source(ham), "x" * 200
    record["label"] = record["rows"][0]["label"] = record["rows"][-1]["label"] = name
    record["rows"][1]["note"] = record["footnote"] = name
    record["command"] = f"hamdg run {name}"
    assert looked(page, written(tmp_path / "report.html", record, evidence(record)), ("light",)) == []


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 30, 345])
def test_many_classes_fit_on_the_page(page: Page, ham: Record, tmp_path: Path, classes: int) -> None:
    record = by_source(many_classes(ham, classes))
    assert looked(page, written(tmp_path / "report.html", record, evidence(record))) == []


def test_the_page_of_a_run_is_printed_black_on_white(page: Page, run_copy: Copy) -> None:
    page.open(write_report(run_copy("ham")), 1280, "dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
