from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.report import build
from hamdg.report.contract import Record, checked, read_record
from hamdg.report.measurements import Measurements, Series
from hamdg.report.page import report_html, write_report

VOID = {"meta", "img", "br"}
Copy = Callable[[str], Path]


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects ids, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_full_run_shows_every_part_and_needs_nothing_else(run_copy: Copy) -> None:
    run = run_copy("ham")
    html = write_report(run).read_text(encoding="utf-8")
    page = Outline(html)
    assert page.ids == [
        "result", "training", "enrichment", "directions", "merge", "classes", "time", "config",
    ]  # fmt: skip
    assert len(page.addresses) == 12
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(|<script|<link", html)


def test_the_page_says_what_was_run(run_copy: Copy) -> None:
    record = read_record(run := run_copy("ham"))
    text = Outline(write_report(run).read_text(encoding="utf-8")).text
    for fact in (record["identity"], record["command"], record["data_digest"], "torch 2.11.0", "960 images"):
        assert fact in text
    assert "HAM (reconstruction), tested on sketch" in text
    assert "our reconstruction" in text


def test_a_run_without_enrichment_and_merge_leaves_them_out(run_copy: Copy) -> None:
    page = Outline(write_report(run_copy("erm")).read_text(encoding="utf-8"))
    assert page.ids == ["result", "training", "classes", "time", "config"]
    assert "reconstruction" not in page.text
    assert "all sources" in page.text


def test_measurements_and_samples_may_be_missing(run_copy: Copy) -> None:
    run = run_copy("ham")
    (run / "metrics.csv").unlink()
    (run / "samples.npz").unlink()
    page = Outline(write_report(run).read_text(encoding="utf-8"))
    assert page.ids == ["result", "enrichment", "merge", "classes", "time", "config"]


def test_names_are_escaped(ham: Record) -> None:
    nasty = "<script>alert('&')</script>"
    text = json.dumps(ham).replace("cartoon", nasty).replace("giraffe", nasty)
    record = checked({**json.loads(text), "command": nasty, "benchmark": nasty, "held_out": nasty}, "here")
    measured = Measurements({("loss", nasty, ""): Series((1, 2), (1.0, 2.0))})
    html = report_html(record, measured, [])
    Outline(html)
    assert "<script" not in html


def test_mislabelled_samples_are_marked(run_copy: Copy) -> None:
    html = write_report(run_copy("ham")).read_text(encoding="utf-8")
    assert "A red frame: training sees a wrong label." in html
    assert html.count('class="tile wrong"') == len(re.findall(r"<span>true: \w+</span>", html)) > 0


def test_a_class_without_pictures_is_a_dash(ham: Record) -> None:
    rows = [{**row, "per_class": [None, *row["per_class"][1:]]} for row in ham["rows"]]
    record: Record = {**ham, "rows": rows}  # type: ignore[typeddict-item]
    assert report_html(record, Measurements({}), []).count('<td class="void">') == len(rows)


def test_the_same_run_gives_the_same_page(run_copy: Copy) -> None:
    run = run_copy("ham")
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_the_page_is_quick_and_small(run_copy: Copy) -> None:
    run = run_copy("ham")
    start = time.perf_counter()
    size = write_report(run).stat().st_size
    assert time.perf_counter() - start < 3.0
    assert size < 2_000_000


def test_build_takes_directories_and_records_and_gives_the_last_page(run_copy: Copy) -> None:
    ham, erm = run_copy("ham"), run_copy("erm")
    assert build([ham, erm / "record.json"]) == erm / "report.html"
    assert (ham / "report.html").is_file()


def test_build_of_nothing_says_how() -> None:
    with pytest.raises(DataError, match="Expected at least one run directory, got none"):
        build([])
