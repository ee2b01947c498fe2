from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Literal, cast

import pytest

from hamdg.report.evidence import Evidence
from hamdg.report.page import report_html
from hamdg.report.table import (
    BATCHNORM,
    CLASS_FEATURES,
    MISSING,
    batchnorm_notes,
    footnotes,
    format_text,
    percent,
    qualified,
    run_table,
    signed_points,
)
from hamdg.runs.record import Record, Row

Compare = Callable[[str, str], None]


@pytest.mark.parametrize("name", ["ham", "erm"])
def test_tables_look_as_frozen(name: str, request: pytest.FixtureRequest, same_as_golden: Compare) -> None:
    record = cast("Record", request.getfixturevalue(name))
    same_as_golden(format_text(record) + "\n", f"{name}/table.txt")


def test_last_row_is_the_result_and_gains_count_from_zero_shot(ham: Record) -> None:
    rows = run_table(ham)
    assert [row.key for row in rows if row.is_result] == ["ham"]
    assert rows[0].gain == 0.0
    assert ham["zero_shot_accuracy"] is not None
    assert rows[-1].gain == pytest.approx(ham["held_out_accuracy"] - ham["zero_shot_accuracy"])


@pytest.mark.parametrize("kind", ["source_means", "linear_probe"])
def test_tables_say_that_class_features_are_learned_and_from_which_model_gains_count(ham: Record, kind: str) -> None:
    start = ham["rows"][0] | {"label": f"start model, {kind}"}
    learned = ham | {"rows": [start, *ham["rows"][1:]], "class_features": {"kind": kind, "sha256": "0"}}
    note = f"Class features: {CLASS_FEATURES[kind]}, frozen; no text is used."
    table = format_text(learned)
    assert note in table.splitlines()
    assert "zero-shot" not in table
    assert f"gain: points over start model, {kind}." in table


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ham", "HAM (reconstruction)"),
        ("HAM without enrichment", "HAM (reconstruction) without enrichment"),
        ("HAM (reconstruction)", "HAM (reconstruction)"),
        ("HAM's best seed", "HAM's best seed (reconstruction)"),
        ("HAM\N{RIGHT SINGLE QUOTATION MARK}s", "HAM\N{RIGHT SINGLE QUOTATION MARK}s (reconstruction)"),
        ("hamster", "hamster"),
        ("ERM + SMA", "ERM + SMA"),
    ],
)
def test_who_has_a_footnote_is_called_as_it_calls_it(given: str, expected: str) -> None:
    assert qualified(given, ["HAM (reconstruction)"]) == expected


def test_footnote_stands_below_tables_with_ham_only(ham: Record, erm: Record) -> None:
    assert ham["footnote"].startswith("HAM (reconstruction): enrichment (SAE) follows the published rule")
    assert format_text(ham).endswith(ham["footnote"])
    assert format_text({**erm, "footnote": ham["footnote"]}) == format_text(erm)


def test_a_label_that_speaks_of_ham_has_its_footnote(ham: Record) -> None:
    assert footnotes([ham], ["ERM", "HAM's best (reconstruction)"]) == [ham["footnote"]]
    assert footnotes([ham], ["ERM", "hamster", "HAM's"]) == []


@pytest.mark.parametrize("kind", ["frozen", "live"])
def test_what_becomes_of_batchnorm_stands_below_the_table(erm: Record, kind: Literal["frozen", "live"]) -> None:
    assert "BatchNorm" not in format_text(erm)
    told: Record = erm | {"batchnorm": kind}
    assert f"BatchNorm statistics {BATCHNORM[kind]}." in format_text(told).splitlines()
    assert f"BatchNorm statistics {BATCHNORM[kind]}." in report_html(told, Evidence())


def test_runs_with_different_batchnorm_are_told_apart() -> None:
    assert batchnorm_notes([("a", ""), ("b", "")]) == []
    assert batchnorm_notes([("a", "live"), ("b", "live")]) == [f"BatchNorm statistics {BATCHNORM['live']}."]
    assert batchnorm_notes([("a", "live"), ("b", "frozen"), ("c", "live"), ("d", "")]) == [
        f"BatchNorm statistics {BATCHNORM['frozen']} in b.",
        f"BatchNorm statistics {BATCHNORM['live']} in a, c.",
    ]


def test_a_linear_layer_that_is_trained_is_not_called_frozen(erm: Record) -> None:
    features = {"kind": "random", "sha256": "0", "use": "start of a linear layer"}
    learned: Record = erm | {"class_features": features}
    note = "Class features: a linear layer that the seed draws, trained from there on; no text is used."
    assert note in format_text(learned).splitlines()
    streets: Record = erm | {"class_features": {**features, "kind": "last_layers", "use": "start of the last layers"}}
    note = "Class features: the segmentation network's own last layers, trained from there on; no text is used."
    assert note in format_text(streets).splitlines()


def test_a_run_without_a_start_model_has_no_gain(ham: Record) -> None:
    bare: Record = {**ham, "zero_shot_accuracy": None, "rows": ham["rows"][1:]}
    assert all(row.gain is None for row in run_table(bare))
    assert ">gain</th>" in report_html(ham, Evidence())
    assert ">gain</th>" not in report_html(bare, Evidence())
    text = format_text(bare)
    assert "gain:" not in text
    assert re.search(f"HAM .* 71.3  1.7 +{MISSING}  ", text)


def test_a_run_on_fewer_images_says_so(ham: Record) -> None:
    assert "Images:" not in format_text(ham)
    few: Record = ham | {"config": {"data": {"shots": 16}}}
    line = "Images: trained on at most 16 per class and source domain."
    assert f"\n{line}\n" in format_text(few)
    both: Record = few | {"config": {"data": {"shots": 16, "subset": 40}}}
    assert f"{line[:-1]}; every domain cut to at most 40 per class.\n" in format_text(both)
    without: Record = ham | {"config": {"excluded": ["photo", "sketch"]}}
    assert "\nImages: without photo, sketch.\n" in format_text(without)


def test_text_columns_are_aligned(ham: Record) -> None:
    lines = format_text(ham).splitlines()
    column = lines[2].index("held out") + len("held out")
    figures = [line[:column].split()[-1] for line in lines[4:] if "±" not in line and "." in line[column - 4 : column]]
    assert figures == [percent(row.held_out) for row in run_table(ham)]


def test_control_characters_of_a_label_or_note_are_written_out(ham: Record) -> None:
    row: Row = {**ham["rows"][-1], "label": "a", "note": "b\n\x1b[2J"}
    text = format_text({**ham, "rows": [row]})
    assert "\x1b" not in text
    assert r"\x1b[2J" in text


@pytest.mark.parametrize(("value", "expected"), [(0.7129, "71.3"), (None, "\N{EN DASH}"), (1.0, "100.0")])
def test_percent(value: float | None, expected: str) -> None:
    assert percent(value) == expected


def test_signed_points() -> None:
    assert (signed_points(0.111), signed_points(-0.024)) == ("+11.1", "\N{MINUS SIGN}2.4")


def test_import_is_light() -> None:
    code = (
        "import sys, hamdg.report, hamdg.report.table as t; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
