from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from hamdg.errors import DataError
from hamdg.report import build
from hamdg.report.evidence import Evidence, read_steps
from hamdg.report.figures import StepData
from hamdg.report.metrics import Metrics
from hamdg.report.page import report_html, write_report
from hamdg.report.related import RelatedRun
from hamdg.report.samples import Images
from hamdg.runs import figures
from hamdg.runs.merge_figures import MergeFacts, merge_figures
from hamdg.runs.predictions import write_predictions
from hamdg.runs.record import Record, Row, StepRecord, checked, merge_facts, read_record
from hamdg.runs.selection import SelectionCounts
from tests.report.made import by_source, evidence, lines, many_classes, predictions

GOLDEN = Path(__file__).parents[1] / "golden"
VOID = {"meta", "img", "br", "input"}
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
        self.ids += [values["id"] or ""] if "id" in values and tag == "section" else []
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
    assert page.ids == ["result", "classes", "train", "merge", "run"]
    pictures = [address for address in page.addresses if not address.startswith("#")]
    assert len(pictures) == 12
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    assert [address for address in page.addresses if address not in pictures] == [f"#{name}" for name in page.ids]
    assert not re.search(r"https?://|@import|url\(|<script|<link", html)


def test_the_page_says_what_was_run(run_copy: Copy) -> None:
    record = read_record(run := run_copy("ham"))
    text = Outline(write_report(run).read_text(encoding="utf-8")).text
    for fact in (record["identity"], record["command"], record["data_digest"], "torch 2.11.0", "960 images"):
        assert fact in text
    assert "HAM (reconstruction), tested on sketch" in text
    assert "our reconstruction" in text


def test_a_run_without_figures_has_the_curves_of_its_training(run_copy: Copy) -> None:
    page = Outline(write_report(run_copy("erm")).read_text(encoding="utf-8"))
    assert page.ids == ["result", "classes", "train", "run"]
    assert "reconstruction" not in page.text
    assert "all sources" in page.text


def test_metrics_and_samples_may_be_missing(run_copy: Copy) -> None:
    run = run_copy("ham")
    (run / "metrics.csv").unlink()
    (run / "samples.npz").unlink()
    page = Outline(write_report(run).read_text(encoding="utf-8"))
    assert page.ids == ["result", "classes", "train", "merge", "run"]


def test_what_the_evaluation_kept_is_drawn_first(ham: Record) -> None:
    record = by_source(ham)
    html = report_html(
        record, replace(evidence(record), related=[RelatedRun("seed", "HAM", 1, "sketch", 0.7, "x.html")])
    )
    page = Outline(html)
    assert page.ids == ["result", "mistakes", "calibration", "classes", "sources", "train", "merge", "related", "run"]
    assert html.count('class="panel"') == html.count('class="reliability') == 3  # the result, its control, the start
    assert html.count("<li><img") == 24
    assert html.count('<figure class="chart">') == 5  # the loss, and the lines on four domains
    assert '<a href="x.html">HAM</a>' in html
    assert len(html.encode()) < 500_000


def test_predictions_of_other_classes_are_refused(run_copy: Copy, ham: Record) -> None:
    run = run_copy("ham")
    write_predictions(run / "predictions.npz", predictions(many_classes(ham, 8)))
    with pytest.raises(DataError, match=r"has other classes than the record; let `hamdg evaluate .*` write both again"):
        write_report(run)


SCRIPT = "</style></title><script>alert('&')</script><a href=\"javascript:alert(1)\">`\ud800\x1b"


def nasty(value: object) -> Any:
    """Return a value of JSON with a script in every text and in every name of a mapping that is not fixed."""
    if isinstance(value, dict):
        return {key if key in NAMES else SCRIPT + key: nasty(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [nasty(inner) for inner in value]
    return SCRIPT + value if isinstance(value, str) and value not in FIXED else value


# Texts that say what is drawn and how.
FIXED = {
    *(name for kind in get_args(figures.Figure) for name in get_args(get_type_hints(kind)["kind"])),
    *get_args(figures.Style), "all", "sources", "targets", "samples.npz", "source", "zero_shot",
    "cosine/before", "cosine/after", "cosine/history", *(f"enrichment/{name}" for name in (
        "candidates", "added", "threshold", "noisy_candidates", "noisy_added",
    )),
}  # fmt: skip


# What a record has to be called, in all its mappings.
NAMES = {
    *Record.__required_keys__, *Record.__optional_keys__, *Row.__required_keys__, *Row.__optional_keys__,
    *SelectionCounts.__required_keys__,
    *StepRecord.__required_keys__, *MergeFacts.__required_keys__, *MergeFacts.__optional_keys__, "",
    *(key for kind in get_args(figures.Figure) for key in kind.__required_keys__),
    *figures.Curve.__required_keys__, *figures.Strip.__required_keys__, *figures.StripImage.__required_keys__,
    *figures.Series.__required_keys__,
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
    return (
        not re.search("<script|\\x1b", html)
        and all(re.match(r"#[\w%.~/-]*$|data:image/png;base64,", address) for address in outline.addresses)
        and not any(name.startswith("on") for name in outline.attributes)
    )


def test_nothing_of_a_record_or_of_its_measurements_becomes_markup(run_copy: Copy, ham: Record) -> None:
    found = read_steps(run_copy("ham"), ham)["train"]
    series = {
        (name, SCRIPT + source, layer and SCRIPT + layer): line
        for (name, source, layer), line in found.metrics.series.items()
    }
    samples = [
        replace(one, model=SCRIPT + one.model, domain=SCRIPT, label=SCRIPT, clean_label=f"{SCRIPT}.")
        for one in found.images["samples.npz"].samples
    ]
    images = Images(found.images["samples.npz"].images, samples)
    record = nasty(whole(by_source(ham)))
    related = RelatedRun("control", SCRIPT, 0, SCRIPT, 0.5, "")
    steps = {"train": StepData(Metrics(series), {"samples.npz": images})}
    html = report_html(record, Evidence(steps, predictions(record), lines(record), [related]))
    assert safe(html)
    assert html.count("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;") > 150
    assert html.count("data:image/png") == 12 + 24
    assert len(Outline(html).ids) == 9


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
            html = report_html(checked(record, "here"), Evidence())
        except (DataError, TypeError, ValueError):
            continue
        assert safe(html), place
        shown += 1
    assert shown


def test_mislabeled_samples_are_marked(run_copy: Copy) -> None:
    html = write_report(run_copy("ham")).read_text(encoding="utf-8")
    assert "A red frame: training sees a wrong label." in html
    assert html.count('class="tile wrong"') == len(re.findall(r"<span>true: \w+</span>", html)) > 0


def test_a_class_without_images_is_a_dash(ham: Record) -> None:
    rows = ham["rows"]
    for row in rows:
        row["targets"]["sketch"]["per_class_accuracy"] = [None, *[0.5] * 6]
    assert report_html(ham, Evidence()).count('<td class="void">') == len(rows)


def lines_of(steps: dict[str, StepRecord]) -> list[str]:
    """Return what the page says of what each step read."""
    record = read_record(GOLDEN / "ham")
    text = Outline(report_html({**record, "steps": steps}, Evidence())).text
    return re.findall(r"(?:Read|May read)[^.]*\.", text)


def test_the_page_says_of_each_step_what_it_read(ham: Record) -> None:
    train, merge = ham["steps"]["train"], ham["steps"]["merge"]
    assert lines_of(ham["steps"]) == ["May read images of the source domains."] * 2
    opened: StepRecord = {**train, "opened": ["cartoon", "photo"]}
    nothing: StepRecord = {**merge, "opened": []}
    assert lines_of({"train": opened, "merge": nothing}) == ["Read images of cartoon and photo.", "Read no images."]
    adapted: StepRecord = {**merge, "reads": ["sources", "targets"], "opened": None}
    assert lines_of({"merge": adapted}) == ["May read images of the source domains and sketch, without labels."]


def test_a_merge_that_read_the_target_is_no_unread_test(ham: Record) -> None:
    for step in ham["steps"].values():
        step["opened"] = ["photo"]
    assert "none of which was read before the evaluation" in report_html(ham, Evidence())
    ham["steps"]["merge"]["opened"] = ["photo", "sketch"]
    assert "none of which was read" not in report_html(ham, Evidence())


def test_each_step_has_its_own_metrics_and_images(run_copy: Copy, ham: Record) -> None:
    run = run_copy("ham")
    (run / "train").mkdir()
    (run / "metrics.csv").rename(run / "train" / "metrics.csv")
    (run / "samples.npz").rename(run / "train" / "samples.npz")
    (run / "merge").mkdir()
    (run / "merge" / "metrics.csv").write_text("step,source,layer,name,value\n1,,,own,0.5\n2,,,own,0.25\n")
    for figure in ham["steps"]["train"]["figures"]:
        if figure["kind"] == "images":
            figure["file"] = "train/samples.npz"
    found = read_steps(run, ham)
    assert found["train"].metrics.by_source("loss")
    assert len(found["train"].images["train/samples.npz"].samples) == 12
    assert found["merge"].metrics.names() == ["own"]


@pytest.mark.parametrize("name", ["../outside.npz", "/etc/passwd"])
def test_a_record_names_no_file_outside_its_run(run_copy: Copy, ham: Record, name: str) -> None:
    run = run_copy("ham")
    (run.parent / "outside.npz").write_bytes(b"not read")
    for figure in ham["steps"]["train"]["figures"]:
        if figure["kind"] == "images":
            figure["file"] = name
    assert read_steps(run, ham)["train"].images == {}


def test_source_models_that_have_become_one_are_said_to_have(ham: Record) -> None:
    assert "have become one" not in report_html(ham, Evidence())
    facts = merge_facts(ham)
    assert facts is not None
    for cosines in facts["cosines"].values():
        cosines[""] = 0.9998
    ham["steps"]["merge"]["figures"] = merge_figures(facts)
    assert "The source models have become one (cosine 1.00 for every pair)" in report_html(ham, Evidence())


def test_every_heat_map_of_layers_has_the_same_order(run_copy: Copy) -> None:
    html = write_report(run_copy("ham")).read_text(encoding="utf-8")
    heads = re.findall(r"<thead>.*?</thead>", html, re.DOTALL)
    orders = [re.findall(r"<span>(.*?)</span>", head) for head in heads]
    layers = [order for order in orders if "conv1" in order]
    assert len(layers) == 4
    depth = ["conv1", "bn1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "attnpool"]
    assert all(order == [name for name in depth if name in order] for order in layers)


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
