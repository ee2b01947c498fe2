"""A finished sweep prints its source validation and writes its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config import Recipe
from hamdg.report import sweeps
from hamdg.report.table import MISSING
from hamdg.runs.sweep import Job, Outcome, Sweep, Variant

ROWS = {"zero_shot": "zero-shot", "ham": "HAM"}


@pytest.fixture
def outcomes(run_copy: Callable[[str], Path]) -> list[Outcome]:
    runs = {"ERM": run_copy("erm"), "own": run_copy("ham")}
    (runs["ERM"] / "merge.json").write_text(json.dumps({"validation": {"zero_shot": 0.5, "erm_sma": 0.8}}))
    (runs["own"] / "merge.json").write_text(json.dumps({"validation": {"source/photo": 0.5, "ham": 0.75}}))
    recipes = {"ERM": Recipe(algorithm="erm", label="ERM"), "own": Recipe(label="own")}
    return [Outcome(Job("clean", name, recipes[name], "evaluate"), str(run)) for name, run in runs.items()]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    variants = {"ERM": Variant("erm.yaml", rows={"erm_sma": "ERM + SMA"}), "own": Variant("ham.yaml", rows=ROWS)}
    return Sweep(["sketch"], [0], variants, out=str(tmp_path / "page" / "results.md"), intro="What this is.")


def test_validation_is_printed_and_the_chosen_rows_are_written(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps.show(Path("grids/file.yaml"), sweep, outcomes)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[3:5] == [
        ["clean", "ERM", "erm_sma", "80.00", MISSING, "1"],
        ["clean", "own", "ham", "75.00", MISSING, "1"],
    ]
    assert said[5] == ["results", str(sweep.out)]

    page = Path(str(sweep.out)).read_text()
    head = "# Results\n\n<!-- begin: grids/file.yaml -->\n\n## file\n\nWhat this is.\n\n"
    assert page.startswith(f"{head}```\nhamdg sweep grids/file.yaml\n```\n\n2 runs; seeds 0;")
    table = page.partition("### Clean\n\n")[2].splitlines()
    assert [line.split(" | ")[0] for line in table[2:5]] == ["| ERM + SMA", "| zero-shot", "| HAM (reconstruction)"]


def test_a_sweep_has_its_title_and_one_name_however_its_file_is_named(
    sweep: Sweep, outcomes: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (Path("grids/file.yaml"), tmp_path / "grids" / "file.yaml", Path("grids/../grids/file.yaml")):
        sweeps.show(file, replace(sweep, title="How it went"), outcomes)
    page = Path(str(sweep.out)).read_text()
    assert page.count("<!-- begin: grids/file.yaml -->\n\n## How it went\n") == page.count("<!-- begin") == 1
    assert "```\nhamdg sweep grids/file.yaml\n```" in page


@pytest.mark.parametrize("change", [{"until": "merge"}, {"out": None}])
def test_without_evaluation_or_page_nothing_is_written(
    sweep: Sweep, outcomes: list[Outcome], change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps.show(Path("file.yaml"), replace(sweep, **change), outcomes)  # type: ignore[arg-type]
    assert "source validation" in capsys.readouterr().out
    assert not (tmp_path / "page").exists()
