from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.report.aggregate import sweep_table
from hamdg.report.markdown import Part
from hamdg.report.results import print_accuracies, results_markdown, write_results
from hamdg.report.table import TARGET_MARK, TARGET_NOTE
from hamdg.runs.record import Record

CHOSEN = {
    ("label noise 20 %", "ERM"): [("erm", "ERM"), ("erm_sma", "ERM + SMA")],
    ("label noise 20 %", "HAM"): [("zero_shot", "zero-shot"), ("source/*", "single source (mean)"), ("ham", "HAM")],
}

PART = Part("sweeps/table.yaml", "Made up", "make mini-table", "All figures here are made up.")


@pytest.fixture
def records(ham: Record, erm: Record) -> list[Record]:
    """Two held-out domains and two seeds of each method; the figures differ a little from run to run."""
    made: list[Record] = []
    for index, (held_out, seed) in enumerate([("photo", 0), ("photo", 1), ("sketch", 0), ("sketch", 1)]):
        for base, variant in ((erm, "ERM"), (ham, "HAM")):
            rows = [{**row, "held_out": row["held_out"] + 0.01 * index * seed} for row in base["rows"]]
            record = {**base, "variant": variant, "condition": "label noise 20 %", "rows": rows}
            made.append({**record, "held_out": held_out, "seed": seed})  # type: ignore[typeddict-item]
    return made


def test_part_looks_as_frozen(records: list[Record], same_as_golden: Callable[[str, str], None]) -> None:
    text = results_markdown(records, PART, CHOSEN, "ERM + SMA", 2)
    same_as_golden(text, "results.md")


def test_page_names_its_command_and_carries_no_date(records: list[Record], tmp_path: Path) -> None:
    out = write_results(records, tmp_path / "docs" / "results.md", PART, CHOSEN)
    text = out.read_text(encoding="utf-8")
    assert "```\nmake mini-table\n```" in text
    assert "seeds 0, 1" in text
    assert text.startswith("# Results\n\n<!-- begin: sweeps/table.yaml -->\n\n## Made up\n\nAll figures")
    assert text.endswith(f"{records[1]['footnote']}\n\n<!-- end: sweeps/table.yaml -->\n")
    assert not re.search(r"20\d\d-\d\d", text)


def test_every_table_row_has_as_many_cells_as_its_head(records: list[Record]) -> None:
    text = results_markdown(records, PART, CHOSEN, "ERM + SMA", 2)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_different_versions_are_all_named(records: list[Record]) -> None:
    newer: Record = {**records[0], "versions": {**records[0]["versions"], "torch": "2.12.0"}}
    text = results_markdown([newer, *records[1:]], PART, CHOSEN, "ERM + SMA", 2)
    assert "torch 2.11.0 and 2.12.0" in text


def test_without_the_reference_nothing_is_compared(records: list[Record]) -> None:
    text = results_markdown(records, PART, CHOSEN, "no such row", 2)
    assert "| method | photo | sketch | mean | n | training, s |" in text
    assert "difference" not in text


def test_what_saw_the_held_out_domain_is_marked(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    assert TARGET_MARK not in results_markdown(records, PART, CHOSEN, "ERM + SMA", 2)
    for record in records:
        if "merge" in record["steps"]:
            record["steps"]["merge"]["reads"] = ["sources", "targets"]
    text = results_markdown(records, PART, CHOSEN, "ERM + SMA", 2)
    assert re.findall(r"\| (.*?) †", text) == ["HAM (reconstruction)"]
    assert f"\n\n{TARGET_NOTE}\n\n" in text
    print_accuracies(records, sweep_table(records, CHOSEN))
    printed = capsys.readouterr().out
    assert "HAM (reconstruction) †" in printed
    assert TARGET_NOTE in printed


NASTY = "<script>|`[x](javascript:alert(1))\n*&"


def test_whatever_records_hold_stays_text(records: list[Record]) -> None:
    nasty: list[Record] = [
        {**record, "condition": NASTY, "held_out": NASTY + record["held_out"], "versions": {NASTY: NASTY}}
        for record in records
    ]
    chosen = {(NASTY, name): [(key, NASTY + label) for key, label in rows] for (_, name), rows in CHOSEN.items()}
    text = results_markdown(nasty, Part("a.yaml", NASTY, f"hamdg sweep ```{NASTY}", "Intro."), chosen, "ERM + SMA", 2)
    written = re.sub(r"(?ms)^````\n.*?\n````$", "", text)
    assert "<" not in written
    assert not re.search(r"(?<!\\)[\[`*]", written)
    assert not re.search(r"&(?!amp;|lt;|gt;)", written)
    for table in re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_no_runs_is_an_error() -> None:
    with pytest.raises(
        DataError, match=re.escape("There are no finished runs to tabulate. Run `make mini-table` first.")
    ):
        results_markdown([], PART, CHOSEN, "ERM + SMA", 2)
