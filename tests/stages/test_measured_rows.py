"""`evaluate.rows`: which rows of a run are measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import Record, read_record
from hamdg.runs.steps import read_validation
from hamdg.stages import exporting, pipeline
from hamdg.stages.scoring import Scorer

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

EXPERTS = ("--algorithm=experts", "--merge.method=uniform", "--experts.ensemble=logits")
ALL = ["zero_shot", "source/art_painting", "source/cartoon", "source/photo", "ensemble", "experts"]


def finished(recipe: Recipe) -> Record:
    pipeline.run(recipe)
    return read_record(RunDirectory(run_directory(recipe)).record)


def keys(record: Record) -> list[str]:
    return [row["key"] for row in record["rows"]]


def test_rows_that_are_not_asked_for_cost_nothing_and_change_no_number(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(tiny(*EXPERTS, f"--runtime.root={tmp_path / 'whole'}"))
    assert keys(whole) == ALL
    scored: list[int] = []
    scores = Scorer.scores

    def counted(self: Scorer, models: list[object], part: object) -> object:
        scored.append(len(models))
        return scores(self, models, part)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "scores", counted)
    recipe = tiny(*EXPERTS, "--evaluate.rows=[source/*]")
    few = finished(recipe)
    # Three hold-out sets, and the held-out domain.
    assert scored == [4] * 4
    assert keys(few) == [*ALL[1:4], "experts"]
    assert few["identity"] == whole["identity"]
    assert few["zero_shot_accuracy"] is None
    expected = {row["key"]: row for row in whole["rows"]}
    assert all(row == expected[row["key"]] for row in few["rows"])
    # What was left out is measured when it is asked for, on the hold-out sets, too.
    pipeline.run(replace(recipe, evaluate=replace(recipe.evaluate, rows=None)))
    run = RunDirectory(run_directory(recipe))
    assert read_record(run.record)["rows"] == whole["rows"]
    assert list(read_validation(run)) == ALL


def test_rows_are_added_to_those_that_a_record_has(tiny: Tiny) -> None:
    recipe = tiny(*EXPERTS, "--evaluate.rows=[ensemble]", "--controls.erm=false")
    record = RunDirectory(run_directory(recipe)).record
    finished(recipe)
    written = record.stat().st_mtime_ns
    for asked in ([], ["experts"], ["ensemble"]):
        assert keys(finished(replace(recipe, evaluate=replace(recipe.evaluate, rows=asked)))) == ["ensemble", "experts"]
    assert record.stat().st_mtime_ns == written
    other = replace(recipe, evaluate=replace(recipe.evaluate, rows=["zero_shot", "source/*"]))
    assert keys(finished(other)) == ALL
    written = record.stat().st_mtime_ns
    assert keys(finished(recipe)) == ALL
    assert record.stat().st_mtime_ns == written


def test_rows_that_a_stopped_process_was_adding_are_added_by_the_next(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tiny(*EXPERTS, "--evaluate.rows=[]")
    assert keys(finished(few)) == ["experts"]
    recipe, run = replace(few, evaluate=replace(few.evaluate, rows=None)), RunDirectory(run_directory(few))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "open_holdouts", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe)
    assert not run.is_done
    assert keys(finished(recipe)) == ALL
    assert run.is_done


def test_controls_have_their_own_rows(tiny: Tiny) -> None:
    record = finished(tiny("--evaluate.rows=[]", "--controls.erm=true"))
    assert keys(record)[-1] == "ham"
    assert {"erm/erm", "erm/erm_sma"} <= set(keys(record))


def test_rows_that_no_run_has_are_refused_before_it_begins(tiny: Tiny) -> None:
    with pytest.raises(ConfigError) as raised:
        pipeline.run(tiny("--algorithm=erm", "--evaluate.rows=[source/*]"))
    assert str(raised.value) == (
        "`evaluate.rows` names `source/*`, but the rows of a run of `erm` are `zero_shot`, `erm`, `erm_sma`; name some "
        "of these, or leave it out for all."
    )


def test_a_value_that_is_no_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "mini/experts", "--evaluate.rows=3", "--dry-run"]) == 2
    assert "a list of keys of rows" in capsys.readouterr().err
