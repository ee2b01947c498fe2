from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from hamdg.errors import DataError
from hamdg.runs.record import (
    Record,
    StepRecord,
    checked,
    known,
    merge_facts,
    read_before,
    read_record,
    selection_counts,
)
from hamdg.runs.summary import read_summary

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def format_1() -> dict[str, Any]:
    """Return what lies in a frozen record of format 1."""
    found: dict[str, Any] = json.loads((GOLDEN / "ham" / "record.json").read_text())
    return found


def test_reads_a_run_directory_and_its_record_alike(ham: Record, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(ham))
    assert read_record(tmp_path) == read_record(tmp_path / "record.json") == ham


def test_a_run_without_record_is_not_finished(tmp_path: Path) -> None:
    message = f"`{tmp_path}` is not a finished run: there is no `record.json`. Repeat the run's command to finish it"
    with pytest.raises(DataError, match=re.escape(message)):
        read_record(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"format": 1,')
    with pytest.raises(
        DataError, match=r"record.json` is not a readable record \(.*\)\. Repeat the run with `--force`"
    ):
        read_record(tmp_path)


@pytest.mark.parametrize(("old", "lacking"), [(False, "rows"), (False, "steps"), (True, "rows"), (True, "merge")])
def test_missing_keys_are_named(ham: Record, format_1: dict[str, object], old: bool, lacking: str) -> None:
    cut = {key: value for key, value in (format_1 if old else ham).items() if key not in (lacking, "classes")}
    message = f"`here` lacks `classes`, `{lacking}`. Repeat the run with `--force` to write the record again."
    with pytest.raises(DataError, match=re.escape(message)):
        checked(cut, "here")


def test_records_without_images_on_a_disk_are_read(ham: Record) -> None:
    newer = {"words", "splits", "data", "condition", "variant"}
    old = {key: value for key, value in ham.items() if key not in newer}
    assert checked(old, "here") == old


def test_another_format_is_refused(ham: Record) -> None:
    with pytest.raises(DataError, match=re.escape("`here` has record format `3`, expected `1` or `2`.")):
        checked({**ham, "format": 3}, "here")


def test_a_format_that_is_no_number_is_refused(ham: Record) -> None:
    with pytest.raises(DataError, match=r"^`there` has record format `\[\]`, expected `1` or `2`"):
        checked({**ham, "format": []}, "there")


@pytest.mark.parametrize("key", ["rows", "targets"])
def test_a_record_without_a_row_or_a_target_is_damaged(ham: Record, key: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({**ham, key: []}))
    for read in (read_record, read_summary):
        with pytest.raises(DataError, match=rf"record\.json` is not a readable record \(`{key}` is empty\)\. Repeat"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("where", "value", "shown"),
    [
        (["held_out"], 73.5, "`rows.ham.held_out` is 73.5"),
        (["held_out_in80"], -0.1, "`rows.ham.held_out_in80` is -0.1"),
        (["validation"], 1.5, "`rows.ham.validation` is 1.5"),
        (["targets", "sketch", "accuracy"], 1.01, "`rows.ham.targets.sketch.accuracy` is 1.01"),
        (["targets", "sketch", "accuracy_in20"], 88, "`rows.ham.targets.sketch.accuracy_in20` is 88"),
        (
            ["targets", "sketch", "per_class_accuracy"],
            [0.5, None, 40],
            "`rows.ham.targets.sketch.per_class_accuracy` is 40",
        ),
    ],
)
def test_accuracies_that_are_no_fractions_of_1_are_damage(
    ham: Record, where: list[str], value: object, shown: str, tmp_path: Path
) -> None:
    record = json.loads(json.dumps(ham))
    *folders, name = where
    place = record["rows"][-1]
    for folder in folders:
        place = place[folder]
    place[name] = value
    (tmp_path / "record.json").write_text(json.dumps(record))
    for read in (read_record, read_summary):
        with pytest.raises(DataError, match=rf"is not a readable record \({re.escape(shown)}, but .* from 0 to 1\)"):
            read(tmp_path)


def test_what_was_not_measured_and_what_rounding_does_are_no_damage(ham: Record, tmp_path: Path) -> None:
    record = json.loads(json.dumps(ham))
    record["rows"][-1] |= {"held_out": math.nan, "validation": None}
    record["rows"][-1]["targets"]["sketch"] |= {"accuracy": 1.0 + 1e-15, "images": 700, "loss": 2.5}
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert math.isnan(read_record(tmp_path)["rows"][-1]["held_out"])
    read_summary(tmp_path)


@pytest.mark.parametrize("name", ["ham", "erm"])
def test_an_upgraded_record_is_a_whole_one_of_format_2(name: str, tmp_path: Path) -> None:
    record = read_record(GOLDEN / name)
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert read_record(tmp_path) == record
    assert record["format"] == 2


def test_counts_and_merge_of_format_1_are_facts_and_figures_of_steps(ham: Record, format_1: dict[str, object]) -> None:
    assert list(ham["steps"]) == ["train", "merge"]
    assert selection_counts(ham) == format_1["enrichment"]
    assert merge_facts(ham) == format_1["merge"]
    kinds = {name: [figure["kind"] for figure in step["figures"]] for name, step in ham["steps"].items()}
    selection, directions = ["table", "curves", "curves", "curves", "images"], ["curves"] * 2 + ["layer_means"] * 2
    assert kinds["train"] == selection + directions
    assert kinds["merge"] == ["bars", "heat_map", "heat_map", "heat_map"]
    assert ham["steps"]["train"]["images_seen"] == ham["images_seen"] == 960


def test_what_format_1_opened_stands_at_its_steps(format_1: dict[str, object]) -> None:
    merge = {**format_1["merge"], "target_data": True}  # type: ignore[dict-item]
    opened = {"train": ["photo"], "merge": ["photo", "sketch"], "evaluate": ["sketch"]}
    record = checked({**format_1, "merge": merge, "opened": opened}, "here")
    assert {name: step["reads"] for name, step in record["steps"].items()} == {
        "train": ["sources"],
        "merge": ["sources", "targets"],
    }
    assert read_before(record) == {"merge": ["sketch"]}
    evaluated: StepRecord = {**record["steps"]["train"], "opened": ["sketch"]}
    assert read_before({**record, "steps": {"evaluate": evaluated}}) == {}
    assert read_before(checked({**format_1, "merge": merge}, "here")) == {"merge": ["sketch"]}
    assert read_before(checked({**format_1, "opened": {}}, "here")) == {}


def test_error_is_computed_where_format_1_has_none(format_1: dict[str, Any]) -> None:
    for row in format_1["rows"]:
        del row["standard_error"]
        row["held_out"] = 0.8
    record = checked({**format_1, "n_held_out": 100}, "here")
    assert [row["standard_error"] for row in record["rows"]] == [pytest.approx(0.04)] * 10


@pytest.mark.parametrize("method", ["rhm", "ties"])
def test_the_footnote_of_format_1_follows_the_merge_method(format_1: dict[str, Any], method: str) -> None:
    format_1["merge"]["method"] = method
    note = checked(format_1, "here")["footnote"]
    assert ("merged by ties in place of" in note) is (method == "ties")
    assert ("(RHM) are our reconstruction" in note) is (method == "rhm")
    assert checked({**format_1, "algorithm": "erm"}, "here")["footnote"] == ""


def test_figures_are_told_apart_by_their_kind(ham: Record) -> None:
    figures: list[Any] = ham["steps"]["merge"]["figures"]
    figures[1]["rows"]["photo"] = ["x"]
    message = "expected `steps.merge.figures.1.rows.photo.0` to be a number or `null`, but got"
    with pytest.raises(DataError, match=re.escape(message)):
        checked(ham, "here")
    figures[1]["kind"] = "pie"
    message = "expected `steps.merge.figures.1.kind` to be one of `heat_map`, `lines`,"
    with pytest.raises(DataError, match=re.escape(message)):
        checked(ham, "here")
    figures[1] = 3
    with pytest.raises(DataError, match=re.escape("expected `steps.merge.figures.1` to be a mapping, but got `3`")):
        checked(ham, "here")


def test_a_list_is_no_record() -> None:
    with pytest.raises(DataError, match=re.escape("`here` is not a record: expected a JSON object, got `list`.")):
        checked([], "here")


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), (math.nan, False), (math.inf, False), (0.0, True), (1.5, True)]
)
def test_known(value: float | None, expected: bool) -> None:
    assert known(value) is expected
