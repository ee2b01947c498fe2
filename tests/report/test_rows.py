from __future__ import annotations

import pytest

from hamdg.report.aggregate import sweep_table
from hamdg.report.rows import choose_rows
from hamdg.report.table import footnote_names, qualified
from hamdg.runs.record import Record


def run(base: Record, variant: str, **accuracies: float) -> Record:
    rows = [{**row, "held_out": accuracies.get(row["key"], row["held_out"])} for row in base["rows"]]
    return {**base, "condition": "clean", "variant": variant, "rows": rows}  # type: ignore[typeddict-item]


def labels(records: list[Record], **selected: dict[str, str]) -> list[str]:
    """Return the labels of the table of a sweep."""
    names = dict.fromkeys(record["variant"] for record in records)
    chosen = choose_rows(records, {name: selected.get(name) for name in names})
    return [row.label for row in sweep_table(records, chosen)]


def test_every_row_of_every_run_is_shown_under_its_own_label(ham: Record, erm: Record) -> None:
    own = [qualified(row["label"], footnote_names([ham])) for row in ham["rows"]]
    assert len(own) == 10
    assert labels([run(ham, "mine")]) == own
    assert labels([run(erm, "ERM")]) == [row["label"] for row in erm["rows"]]


def test_rows_that_are_the_same_in_all_variants_are_shown_once_and_others_say_whose_they_are(ham: Record) -> None:
    first, second = run(ham, "HAM"), run(ham, "HAM, keep 0.2", ham=0.5, shrunk=0.25)
    (shrunk,) = (row["label"] for row in ham["rows"] if row["key"] == "shrunk")
    found = labels([first, second])
    assert len(found) == len(set(found)) == len(ham["rows"]) + 2
    assert found[0] == "zero-shot"
    assert found.count("zero-shot") == 1
    assert [label for label in found if label.startswith("HAM (")] == [
        f"HAM (reconstruction): {shrunk}",
        "HAM (reconstruction)",
        f"HAM (reconstruction), keep 0.2: {shrunk}",
        "HAM (reconstruction), keep 0.2",
    ]


def test_two_results_are_two_rows_even_where_they_are_equal(ham: Record) -> None:
    found = labels([run(ham, "one"), run(ham, "two")])
    assert [label for label in found if "HAM" in label] == [
        "one: HAM (reconstruction)",
        "two: HAM (reconstruction)",
    ]


def test_a_selection_names_rows_and_leaves_out_others(ham: Record, erm: Record) -> None:
    found = labels([run(ham, "own"), run(erm, "ERM")], own={"ham": "HAM", "source/*": "sources, mean"})
    assert found == ["HAM (reconstruction)", "sources, mean", *(row["label"] for row in erm["rows"])]


def test_a_label_of_the_sweep_file_stays_and_the_others_make_room(ham: Record, erm: Record) -> None:
    found = labels([run(ham, "own"), run(erm, "ERM", zero_shot=0.1)], own={"zero_shot": "zero-shot"})
    assert found[:2] == ["zero-shot", "ERM: zero-shot"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_source_model_has_no_figure_where_its_domain_is_held_out(ham: Record, reverse: bool) -> None:
    gone = ham["rows"][1]["key"]
    assert gone.startswith("source/")
    rows = [row for row in ham["rows"] if row["key"] != gone]
    other: Record = {**run(ham, "own"), "held_out": "photo", "rows": rows}
    records = [run(ham, "own"), other]
    chosen = choose_rows(records[::-1] if reverse else records, {"own": None})
    row = next(row for row in sweep_table(records, chosen) if row.label == ham["rows"][1]["label"])
    assert list(row.by_domain) == ["sketch"]
    keys = [row["key"] for row in ham["rows"]]
    assert [key for key, _ in chosen["clean", "own"]] == keys
    assert row.average is None
