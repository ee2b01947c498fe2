"""A finished sweep prints its source validation and writes its page."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg import console
from hamdg.config.recipe import Recipe, RuntimeConfig
from hamdg.errors import ConfigError, DataError, OutputError
from hamdg.report.table import MISSING
from hamdg.runs.record import Record, read_record
from hamdg.sweeps import results
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.ledger import Outcome
from hamdg.sweeps.sweep_file import Figure, Sweep, Variant

ROWS = {"zero_shot": "zero-shot", "ham": "HAM"}


@pytest.fixture
def outcomes(run_copy: Callable[[str], Path]) -> list[Outcome]:
    runs = {"ERM": run_copy("erm"), "own": run_copy("ham")}
    (runs["ERM"] / "validation.json").write_text(json.dumps({"validation": {"zero_shot": 0.5, "erm_sma": 0.8}}))
    (runs["own"] / "validation.json").write_text(json.dumps({"validation": {"source/photo": 0.5, "ham": 0.75}}))
    recipes = {"ERM": Recipe(algorithm="erm", label="ERM"), "own": Recipe(label="own")}
    return [Outcome(Job("clean", name, recipes[name], "evaluate"), str(run)) for name, run in runs.items()]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    variants = {"ERM": Variant("erm.yaml", rows={"erm_sma": "ERM + SMA"}), "own": Variant("ham.yaml", rows=ROWS)}
    return Sweep(["sketch"], [0], variants, out=str(tmp_path / "page" / "results.md"), intro="What this is.")


def test_validation_is_printed_and_the_chosen_rows_are_written(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    results.show(Path("grids/file.yaml"), sweep, [one.job for one in outcomes], outcomes)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[4:6] == [
        ["clean", "ERM", "erm_sma", "80.00", MISSING, "1"],
        ["clean", "own", "ham", "75.00", MISSING, "1"],
    ]
    assert said[7] == ["mini:", "accuracy", "on", "the", "whole", "held-out", "domain,", "%"]
    assert said[11:14] == [
        ["ERM", "+", "SMA", "*73.7", "1"],
        ["zero-shot", "60.1", "1"],
        ["HAM", "(reconstruction)", "71.3", "1"],
    ]
    assert said[15][:5] == ["Difference", "to", "ERM", "+", "SMA,"]
    assert said[21] == ["HAM", "(reconstruction)", "\N{MINUS SIGN}2.4"]
    assert said[-1] == ["results", str(sweep.out)]

    page = Path(str(sweep.out)).read_text()
    head = "# Results\n\n<!-- begin: grids/file.yaml -->\n\n## file\n\nWhat this is.\n\n"
    assert page.startswith(f"{head}```\nhamdg sweep grids/file.yaml\n```\n\n2 runs; seed 0;")
    table = page.partition("### Clean\n\n")[2].splitlines()
    assert [line.split(" | ")[0] for line in table[2:5]] == ["| ERM + SMA", "| zero-shot", "| HAM (reconstruction)"]


def test_source_validation_is_titled_by_the_metric(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    for benchmark, title in (("mini", "% correct"), ("mini-scenes", "mIoU, %")):
        recipe = Recipe(benchmark=benchmark, label="own")
        one = replace(outcomes[1], job=replace(outcomes[1].job, recipe=recipe))
        results.show(Path("file.yaml"), replace(sweep, until="validate"), [one.job], [one])
        assert f"\n{title} on the source hold-out sets\n" in capsys.readouterr().out


def test_a_baseline_that_no_row_is_called_is_named(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    results.show(Path("grids/file.yaml"), replace(sweep, baseline="MAH"), [one.job for one in outcomes], outcomes)
    said = capsys.readouterr()
    assert "Difference" not in said.out
    assert "no row is called `MAH`, the sweep's `baseline`; there are `ERM + SMA`, `zero-shot`, `HAM" in said.err


def test_a_sweep_has_its_title_and_one_name_however_its_file_is_named(
    sweep: Sweep, outcomes: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (Path("grids/file.yaml"), tmp_path / "grids" / "file.yaml", Path("grids/../grids/file.yaml")):
        results.show(file, replace(sweep, title="How it went"), [one.job for one in outcomes], outcomes)
    page = Path(str(sweep.out)).read_text()
    assert page.count("<!-- begin: grids/file.yaml -->\n\n## How it went\n") == page.count("<!-- begin") == 1
    assert "```\nhamdg sweep grids/file.yaml\n```" in page


def test_without_rows_all_rows_are_printed_and_written(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = replace(sweep, variants={name: replace(one, rows=None) for name, one in sweep.variants.items()})
    results.show(Path("grids/file.yaml"), bare, [one.job for one in outcomes], outcomes)
    printed = capsys.readouterr().out.partition("accuracy on the whole held-out domain")[2]
    page = Path(str(sweep.out)).read_text().partition("### Clean\n\n")[2]
    labels = {row["label"] for one in outcomes for row in read_record(Path(one.run))["rows"]}
    assert len(labels) == 10
    for label in labels:
        assert f"\n{label} " in printed
        assert f"\n| {label} | " in page


def test_another_row_may_be_the_baseline(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    results.show(Path("grids/file.yaml"), replace(sweep, baseline="HAM"), [one.job for one in outcomes], outcomes)
    assert "Difference to HAM (reconstruction), " in capsys.readouterr().out
    assert "\n#### Difference to HAM (reconstruction), points" in Path(str(sweep.out)).read_text()


def test_the_figure_is_drawn_from_the_records_when_all_runs_are_done(
    sweep: Sweep, outcomes: list[Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images" / "figure.svg"
    figure = Figure(str(out), {"a dial": {"clean": "0"}}, ["HAM"])
    jobs = [one.job for one in outcomes]
    results.show(Path("grids/file.yaml"), replace(sweep, figure=figure), jobs, outcomes[:1])
    assert not out.exists()
    results.show(Path("grids/file.yaml"), replace(sweep, figure=figure), jobs, outcomes)
    assert capsys.readouterr().out.endswith(f"figure {out}\n")
    image = out.read_text()
    # 71.3 of HAM less 73.7 of ERM + SMA, as the table says.
    assert re.search(r"HAM \(reconstruction\), a dial 0: \N{MINUS SIGN}2\.4", image)
    assert "Accuracy minus that of ERM + SMA on unseen domains" in image
    with pytest.raises(ConfigError, match="cannot be written"):
        results.check(replace(sweep, figure=Figure(str(tmp_path / "images" / "figure.svg" / "a.svg"), figure.dials)))


def test_tables_are_printed_where_the_figure_cannot_be_drawn(
    sweep: Sweep, outcomes: list[Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Figure(str(tmp_path / "figure.svg"), {"a dial": {"clean": "0"}}, ["HEM"])
    with pytest.raises(ConfigError, match=r"`figure\.methods` names `HEM`, which no row is called"):
        results.show(Path("grids/file.yaml"), replace(sweep, figure=figure), [one.job for one in outcomes], outcomes)
    assert f"\nresults {sweep.out}\n" in capsys.readouterr().out


def test_costs_take_the_place_of_the_seconds_of_training(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(sweep, costs=True)
    assert repr(asked) == repr(sweep)  # its runs, and so its ledger, are the same
    results.show(Path("grids/file.yaml"), asked, [one.job for one in outcomes], outcomes)
    assert "time / ERM + SMA  images / ERM + SMA  forward passes\n" in capsys.readouterr().out
    page = Path(str(sweep.out)).read_text()
    assert "| n | time / ERM + SMA | images / ERM + SMA | forward passes |\n" in page
    assert "\nAccuracy on the whole held-out domain" in page
    assert "Costs of training: the seconds of all steps" in page
    assert "training, s" not in page


def test_a_page_that_cannot_be_written_is_reported_before_anything_runs(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\n")
    results.check(sweep)
    results.check(replace(sweep, out=None))
    results.check(replace(sweep, out=str(tmp_path / "file")))
    for out, message in (
        (tmp_path / "file" / "page.md", f"cannot be written: `{tmp_path / 'file'}` is a file; choose another place."),
        (tmp_path, "is not a file; name the file itself, such as `docs/results.md`."),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(f'`out: {out}` {message}')}$"):
            results.check(replace(sweep, out=str(out)))
    (tmp_path / "file").write_text("<!-- end: a.yaml -->")
    with pytest.raises(DataError, match="are not clear at its marker"):
        results.check(replace(sweep, out=str(tmp_path / "file")))


@pytest.mark.parametrize("change", [{"until": "validate"}, {"out": None}])
def test_without_evaluation_or_page_nothing_is_written(
    sweep: Sweep, outcomes: list[Outcome], change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.show(Path("file.yaml"), replace(sweep, **change), [one.job for one in outcomes], outcomes)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "source validation" in said
    assert ("on the whole held-out domain" in said) == ("out" in change)
    assert not (tmp_path / "page").exists()


def test_the_page_is_written_although_nothing_can_be_printed(
    sweep: Sweep, outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="files that were written are complete"):
            results.show(Path("grids/file.yaml"), sweep, [one.job for one in outcomes], outcomes)
    console.open_streams()
    assert "HAM (reconstruction)" in Path(str(sweep.out)).read_text()


def test_the_numbers_of_both_tables_are_in_the_document(
    sweep: Sweep, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.output(as_json=True):
        results.show(Path("grids/file.yaml"), sweep, [one.job for one in outcomes], outcomes)
    found = json.loads(capsys.readouterr().out)
    assert found["source_validation"][0] == {
        "condition": "clean",
        "variant": "ERM",
        "row": "erm_sma",
        "accuracy": {"mean": 0.8, "standard_error": None, "n": 1},
    }
    (table,), (seconds,) = found["held_out"], found["train_seconds"]
    assert (table["benchmark"], table["condition"], table["baseline"]) == ("mini", "clean", "ERM + SMA")
    assert [row["label"] for row in table["rows"]] == ["ERM + SMA", "zero-shot", "HAM (reconstruction)"]
    assert [cells[0]["mean"] for cells in table["cells"]] == [0.7371, 0.6014, 0.7129]
    assert table["cells"][2][0]["difference"]["mean"] == pytest.approx(0.7129 - 0.7371)
    assert [cells[0]["mean"] for cells in seconds["cells"]] == [20.5, None, 61.2]
    assert [run["state"] for run in found["runs"]] == ["done", "done"]


def test_done_runs_that_no_table_averages_end_a_sweep_before_others_are_made(
    sweep: Sweep, ham: Record, tmp_path: Path
) -> None:
    root = {"runtime": RuntimeConfig(root=str(tmp_path / "logs"))}
    jobs = [Job("clean", "own", Recipe(label="own", seed=seed, **root), "evaluate") for seed in range(3)]  # type: ignore[arg-type]
    for job, digest in zip(jobs[:2], ("a", "b"), strict=True):
        job.directory.mkdir(parents=True)
        seed = {"seed": job.recipe.seed, "held_out": "sketch", "targets": ["sketch"]}
        (job.directory / "record.json").write_text(json.dumps({**ham, **seed, "data_digest": 64 * digest}))
        (job.directory / "done").touch()
    results.check_done(sweep, jobs[1:])
    results.check_done(sweep, [replace(job, force=True) for job in jobs])
    message = r"^The runs that are done fit into no table, .* would average runs that differ in `images` \(a+, b+\)"
    with pytest.raises(DataError, match=message):
        results.check_done(sweep, jobs)
