from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pytest

from hamdg.errors import DataError
from hamdg.report.collection import collect
from hamdg.runs.record import Record, read_before, read_record
from hamdg.runs.summary import read_summary, summary_of

GOLDEN = Path(__file__).parents[1] / "golden"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that lays down a run's directory with a changed record."""

    def run(folder: str, name: str = "ham", **changes: object) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True)
        record = json.loads((GOLDEN / name / "record.json").read_text())
        (path / "record.json").write_text(json.dumps(record | changes))
        (path / "config.yaml").write_text("benchmark: mini\n")
        return path

    return run


def test_a_summary_is_a_part_of_its_record(ham: Record) -> None:
    summary = summary_of(ham)
    for name, value in asdict(summary).items():
        if name not in ("steps", "condition", "variant", "batchnorm", "average"):
            assert value == cast("dict[str, object]", ham)[name]
    assert (summary.condition, summary.variant, summary.batchnorm) == ("clean", "HAM (reconstruction)", "")
    assert summary_of(cast("Record", {**ham, "batchnorm": "live"})).batchnorm == "live"
    assert {name: asdict(step) for name, step in summary.steps.items()} == {
        name: {key: cast("dict[str, object]", step)[key] for key in ("reads", "opened", "seconds", "images_seen")}
        for name, step in ham["steps"].items()
    }
    assert summary.result["key"] == "ham"


@pytest.mark.parametrize("opened", [None, [], ["sketch", "photo"]])
def test_a_summary_knows_what_was_read_before_the_evaluation(ham: Record, opened: list[str] | None) -> None:
    ham["steps"]["train"] |= {"reads": ["sources", "targets"], "opened": opened}
    ham["steps"]["evaluate"] = {**ham["steps"]["train"], "opened": ["sketch"]}
    assert summary_of(ham).read_before() == read_before(ham) == ({"train": ["sketch"]} if opened != [] else {})


def test_runs_are_found_in_folders_and_by_name(make: Make, tmp_path: Path) -> None:
    first, second = make("logs/mini/sketch/ham/seed0-a"), make("logs/mini/sketch/erm/seed0-b", "erm")
    other = make("other", identity="00000000")
    (tmp_path / "logs" / "sweeps").mkdir()
    found = collect([tmp_path / "logs", first, other, first / "record.json"])
    assert [run.path for run in found.runs] == [second, first, other]
    assert found.runs[1].summary == read_summary(first)
    assert found.runs[1].record == read_record(first)
    assert not found.problems
    assert not found.unfinished


def test_what_lies_within_a_run_is_no_run(make: Make) -> None:
    outer = make("run")
    shutil.copytree(outer, outer / "train" / "copy")
    assert [run.path for run in collect([outer]).runs] == [outer]


def test_runs_that_have_not_finished_are_kept_apart(make: Make, tmp_path: Path) -> None:
    make("logs/done")
    (make("logs/open") / "record.json").unlink()
    found = collect([tmp_path / "logs"])
    assert found.unfinished == [tmp_path / "logs" / "open"]
    assert not found.problems


def test_damaged_foreign_and_other_records_are_named_and_left_out(make: Make, tmp_path: Path) -> None:
    make("logs/a good one")
    cut = make("logs/cut")
    (cut / "record.json").write_bytes((cut / "record.json").read_bytes()[:900])
    (make("logs/binary") / "record.json").write_bytes(b"\xff\xfe\x00")
    (make("logs/foreign") / "record.json").write_text('{"dataset": "PACS", "args": {}}')
    (make("logs/list") / "record.json").write_text("[]")
    make("logs/newer", format=3)
    make("logs/typed", seed="zero")
    found = collect([tmp_path / "logs"])
    assert [run.path.name for run in found.runs] == ["a good one"]
    reasons = {problem.path.name: problem.reason for problem in found.problems}
    assert list(reasons) == ["binary", "cut", "foreign", "list", "newer", "typed"]
    assert "is not a readable record" in reasons["cut"]
    assert "is not a readable record" in reasons["binary"]
    assert "has record format `None`, expected `1` or `2`" in reasons["foreign"]
    assert "is not a record: expected a JSON object, got `list`" in reasons["list"]
    assert "has record format `3`, expected `1` or `2`" in reasons["newer"]
    assert 'expected `seed` to be an integer, but got `"zero"`' in reasons["typed"]


def test_a_copy_of_a_run_is_named_and_counts_once(make: Make, tmp_path: Path) -> None:
    first, second = make("a"), make("b")
    found = collect([tmp_path])
    assert [run.path for run in found.runs] == [first]
    assert [(problem.reason, problem.kind) for problem in found.problems] == [
        (f"`{second}` is the same run as `{first}`, which is shown.", "copy")
    ]


def test_nothing_to_read_is_an_error_that_says_why(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"There is no `{tmp_path / 'x'}`; name run directories")):
        collect([tmp_path / "x"])
    with pytest.raises(DataError, match=r"There is no readable record in `.*`; start a run with `hamdg run RECIPE`."):
        collect([tmp_path])
    (make("open") / "record.json").unlink()
    with pytest.raises(DataError, match=r"1 run has not finished; repeat the same command to go on\."):
        collect([tmp_path])
    make("damaged", format=7)
    with pytest.raises(DataError, match=r": 1 is not, the first: `.*` has record format `7`"):
        collect([tmp_path])
