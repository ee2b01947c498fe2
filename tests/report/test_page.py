from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from hamdg.errors import DataError
from hamdg.report import build
from hamdg.report.measurements import Measurements, read_measurements
from hamdg.report.page import report_html, write_report
from hamdg.report.samples import read_samples
from hamdg.runs import figures
from hamdg.runs.merge_figures import MergeFacts
from hamdg.runs.record import Record, Row, StepRecord, checked, read_record
from hamdg.runs.selection import SelectionCounts

VOID = {"meta", "img", "br"}
Copy = Callable[[str], Path]


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects ids, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.attributes |= values.keys()
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


SCRIPT = "</style></title><script>alert('&')</script><a href=\"javascript:alert(1)\">`\ud800\x1b"


def nasty(value: object) -> Any:
    """Return a value of JSON with a script in every text and in every name of a mapping that is not fixed."""
    if isinstance(value, dict):
        return {key if key in NAMES else SCRIPT + key: nasty(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [nasty(inner) for inner in value]
    return SCRIPT + value if isinstance(value, str) else value


# What a record has to be called, in all its mappings.
NAMES = {
    *Record.__required_keys__, *Record.__optional_keys__, *Row.__required_keys__, *SelectionCounts.__required_keys__,
    *StepRecord.__required_keys__, *MergeFacts.__required_keys__, *MergeFacts.__optional_keys__, "",
    *(key for kind in get_args(figures.Figure) for key in kind.__required_keys__),
    *figures.Curve.__required_keys__, *figures.Strip.__required_keys__, *figures.StripImage.__required_keys__,
    "title", "version", "pictures", "per_class_accuracy", "train", "merge", "selection",
}  # fmt: skip


def whole(record: Record) -> Record:
    """Return the record with everything that it may have."""
    card = {"title": "PACS", "version": "as in the papers", "pictures": 9991}
    train: StepRecord = {**record["steps"]["train"], "opened": [record["held_out"]]}
    return {**record, "data": card, "steps": {**record["steps"], "train": train}}


def safe(html: str) -> bool:
    """Return whether a page has no element, attribute or character that the test put into its record."""
    outline = Outline(html)
    html.encode()
    return not re.search('<script|<a |href="|\\x1b', html) and all(
        not re.search(r"^on|^href$", name) for name in outline.attributes
    )


def test_nothing_of_a_record_or_of_its_measurements_becomes_markup(run_copy: Copy, ham: Record) -> None:
    run = run_copy("ham")
    read = read_measurements(run / "metrics.csv")
    series = {
        (name, SCRIPT + source, layer and SCRIPT + layer): line for (name, source, layer), line in read.series.items()
    }
    samples = [
        replace(one, model=SCRIPT + one.model, domain=SCRIPT, label=SCRIPT, clean_label=f"{SCRIPT}.")
        for one in read_samples(run / "samples.npz")
    ]
    html = report_html(nasty(whole(ham)), Measurements(series), samples)
    assert safe(html)
    assert html.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;") > 150
    assert len(Outline(html).ids) == 8


def numbers_of(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, int | float) and not isinstance(inner, bool):
            yield (*place, key)
        yield from numbers_of(inner, (*place, key))


def test_a_number_that_is_a_text_is_refused_or_shown_as_one(ham: Record) -> None:
    shown = 0
    for place in numbers_of(whole(ham)):
        record: Any = copy.deepcopy(whole(ham))
        inner = record
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = SCRIPT
        try:
            html = report_html(checked(record, "here"), Measurements({}), [])
        except (DataError, TypeError, ValueError):
            continue
        assert safe(html), place
        shown += 1
    assert shown


def test_mislabeled_samples_are_marked(run_copy: Copy) -> None:
    html = write_report(run_copy("ham")).read_text(encoding="utf-8")
    assert "A red frame: training sees a wrong label." in html
    assert html.count('class="tile wrong"') == len(re.findall(r"<span>true: \w+</span>", html)) > 0


def test_a_class_without_pictures_is_a_dash(ham: Record) -> None:
    rows = ham["rows"]
    for row in rows:
        row["targets"]["sketch"]["per_class_accuracy"] = [None, *[0.5] * 6]
    assert report_html(ham, Measurements({}), []).count('<td class="void">') == len(rows)


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
