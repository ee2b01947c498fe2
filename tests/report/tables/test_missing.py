"""Why cells have no number."""

from __future__ import annotations

from pathlib import Path

from hamdg.report.collection import Collection, FoundRun, Problem
from hamdg.report.tables.missing import absent_of
from hamdg.report.tables.options import Absent
from tests.report.tables.conftest import Made, cell, one


def test_missing_cells_have_their_reason(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out) != ("ham", "art")]
    assert cell(one(cut), "HAM (reconstruction)", "art").missing == "no run"
    root = Path("logs/toy/art/ham")
    found = Collection(
        cut,
        [Problem(root / "seed1-abc", "it is damaged")],
        [root / "seed0-abc", Path("logs/toy/art/erm/seed7-abc"), Path("elsewhere")],
    )
    table = one(cut, *absent_of(found))
    missing = cell(table, "HAM (reconstruction)", "art").missing
    assert "not finished: `logs/toy/art/ham/seed0-abc` (seed 0)" in missing
    assert "damaged record: `logs/toy/art/ham/seed1-abc` (seed 1)" in missing
    assert "erm" not in missing
    assert cell(table, "HAM (reconstruction)", "average").missing == "no run on `art`"


def test_a_copy_of_a_run_is_not_missing(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out) != ("ham", "art")]
    copy = Problem(Path("copies/toy/art/ham/seed0-abc"), "it is the same run as another", "copy")
    assert absent_of(Collection(cut, [copy], [])) == []


def test_the_reasons_of_a_sweep_are_grouped_by_seeds(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out) != ("ham", "art")]
    said = {"benchmark": "toy", "held_out": "art", "algorithm": "ham"}
    absent = [Absent({**said, "seed": str(seed)}, "failed: no memory.") for seed in (0, 2)]
    absent.append(Absent({**said, "seed": "1"}, "not begun"))
    found = cell(one(cut, *absent), "HAM (reconstruction)", "art")
    assert found.missing == "failed: no memory. (seeds 0, 2); not begun (seed 1)"


def test_what_was_not_measured_is_said(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5, calibration_error=0.1), made("ham", "art", 0, 0.5)]
    found = cell(one(runs, metric="calibration_error"), "ERM", "art")
    assert found.mean == 0.1
    table = one([*runs, made("ham", "photo", 0, 0.5, calibration_error=0.2)], metric="calibration_error")
    assert cell(table, "HAM (reconstruction)", "art").missing == "calibration error was not measured (seed 0)"
