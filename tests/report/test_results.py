from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.report.contract import Record
from hamdg.report.parts import Part
from hamdg.report.results import results_markdown, write_results
from hamdg.report.table import FOOTNOTE

CHOSEN = {
    ("erm", "ERM"): [("erm", "ERM"), ("erm_sma", "ERM + SMA")],
    ("ham", "HAM"): [("zero_shot", "zero-shot"), ("source/*", "single source (mean)"), ("ham", "HAM")],
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
    assert text.endswith(f"{FOOTNOTE}\n\n<!-- end: sweeps/table.yaml -->\n")
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


def test_no_runs_is_an_error() -> None:
    with pytest.raises(
        DataError, match=re.escape("There are no finished runs to tabulate. Run `make mini-table` first.")
    ):
        results_markdown([], PART, CHOSEN, "ERM + SMA", 2)
