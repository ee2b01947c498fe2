from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from hamdg.report.collection import Problem, collect
from hamdg.report.many.page import Study, many_html
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import Absent, TableOptions
from tests.made_up import METHODS, NOTE, write_runs
from tests.report.many.hand_made import made_table

VOID = {"meta", "br"}
OPTIONS = TableOptions(rows=("variant",), models=("zero_shot", "result"), baseline="ERM + SMA")


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects headings, ids, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
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
        self.headings += [""] if tag in ("h1", "h2", "h3") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if "style" not in self.open and "script" not in self.open:
            self.text += data


def tables_of(folder: Path) -> list[Table]:
    write_runs(folder)
    return tabulate(collect([folder]).runs, OPTIONS)


def test_the_page_holds_every_part_and_needs_nothing_else(tmp_path: Path) -> None:
    html = many_html(Study("", tables_of(tmp_path)))
    page = Outline(html)
    assert page.headings == [
        "9 methods on mini",
        "Accuracy",
        "By held-out domain",
        "Against ERM + SMA",
        "What single keys do",
        "Cost against accuracy",
        "The runs",
    ]
    assert page.addresses == []
    assert not re.search(r"https?://|@import|url\(|<link|<img", html)


def test_the_page_says_how_its_numbers_are_to_be_read(tmp_path: Path) -> None:
    text = Outline(many_html(Study("", tables_of(tmp_path), command="hamdg report made_up --out page.html"))).text
    for part in (
        "ERM + SMA is best on average",
        "whole held-out domain",
        "sample standard deviation",
        "DomainBed's are on its 80 % part",
        "two-sided paired t-test",
        "95 % intervals",
        NOTE,
        "hamdg report made_up --out page.html",
        "art_painting 700",
    ):
        assert part in text


def test_several_conditions_have_a_part_each_and_a_list_on_top(tmp_path: Path) -> None:
    (table,) = tables_of(tmp_path)
    noisy = replace(table, place={"benchmark": "mini", "condition": "20 % label noise"})
    page = Outline(many_html(Study("Both", [table, noisy])))
    assert page.headings[:2] == ["Both", "mini, clean"]
    assert "mini, 20 % label noise" in page.headings
    assert page.headings.count("Accuracy") == 2
    assert page.addresses == ["#group-1", "#group-2"]
    assert {"group-1", "group-2"} <= set(page.ids)


def test_what_is_missing_is_named_with_its_reason(tmp_path: Path) -> None:
    (table,) = tables_of(tmp_path)
    study = Study(
        "",
        [replace(table, problems=["Fewer seeds: `x`."])],
        problems=[Problem(Path("runs/a"), "`runs/a` is damaged.")],
        absent=[
            Absent({"variant": "HAM", "held_out": "photo", "seed": "1", "condition": "noise"}, "not begun"),
            Absent(
                {"variant": "HAM", "held_out": "photo", "seed": "2", "condition": "clean"},
                "failed: no `memory`.",
                "sweeps/x.txt",
            ),
        ],
        remarks=["1 run is not finished."],
    )
    page = Outline(many_html(study))
    assert "1 run failed. 1 run is not there yet. 1 record is left out." in page.text
    assert "#missing" in page.addresses
    assert "What failed, and what is left out" in page.headings
    for part in (
        "sweeps/x.txt",
        "HAM, photo, seed 2",
        "no memory.",
        "HAM, photo, seed 1, noise",
        "runs/a is damaged.",
        "Fewer seeds: x.",
    ):
        assert part in page.text
    assert page.text.index("HAM, photo, seed 2") < page.text.index("HAM, photo, seed 1, noise")


def test_nothing_of_a_record_becomes_html() -> None:
    evil = "<script>alert(1)</script>\x1b[31m`<b>`"
    html = many_html(
        Study(
            evil,
            [made_table({evil: {evil: [70, 71]}, "b": {evil: [60, 61]}}, baseline=evil)],
            problems=[Problem(Path(evil), evil)],
            absent=[Absent({"variant": evil}, evil)],
            remarks=[evil],
        )
    )
    assert "<script>alert" not in html
    assert "<b>" not in html
    assert "\x1b" not in html
    assert html.count("<script>") == 1


def test_runs_link_to_their_own_pages(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, METHODS[:1])
    tables = tabulate(collect([tmp_path]).runs, OPTIONS)
    page = Outline(many_html(Study("", tables, pages={runs[0]: "a/report.html"})))
    assert page.addresses == ["a/report.html"]


def test_a_table_without_any_number_is_still_a_page() -> None:
    page = Outline(many_html(Study("Empty", [made_table({"ERM": {"photo": []}})])))
    assert "No method has a result on average yet." in page.text
    assert "not begun" in page.text
