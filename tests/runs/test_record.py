from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.runs.record import Record, checked, known, read_record


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


def test_missing_keys_are_named(ham: Record) -> None:
    cut = {key: value for key, value in ham.items() if key not in ("rows", "merge")}
    with pytest.raises(DataError, match=re.escape("`here` lacks `merge`, `rows`. Repeat the run with `--force`")):
        checked(cut, "here")


def test_records_without_pictures_on_a_disk_and_older_ones_are_read(ham: Record) -> None:
    newer = {"words", "splits", "data", "condition", "variant"}
    old = {key: value for key, value in ham.items() if key not in newer}
    assert checked(old, "here") == old


def test_another_format_is_refused(ham: Record) -> None:
    with pytest.raises(DataError, match=re.escape("`here` has record format `2`, expected `1`.")):
        checked({**ham, "format": 2}, "here")


def test_a_list_is_no_record() -> None:
    with pytest.raises(DataError, match=re.escape("`here` is not a record: expected a JSON object, got `list`.")):
        checked([], "here")


@pytest.mark.parametrize(("value", "expected"), [(None, False), (math.nan, False), (0.0, True), (1.5, True)])
def test_known(value: float | None, expected: bool) -> None:
    assert known(value) is expected
