from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.files import write_json
from hamdg.report.collection import FoundRun
from hamdg.report.estimates import Estimate
from hamdg.report.markdown import Part
from hamdg.report.results import noise_markdown, noise_table, results_markdown, write_results
from hamdg.report.table import MISSING, TARGET_MARK, TARGET_NOTE
from hamdg.runs.record import SAW_HOLDOUTS, Record, StepRecord
from hamdg.runs.selection import SelectionCounts
from hamdg.text import listed
from tests.report.made import of_sweep

NOISY = "label noise 20 %"
METHODS = {
    (NOISY, "ERM", "erm"): "ERM",
    (NOISY, "ERM", "erm_sma"): "ERM + SMA",
    (NOISY, "HAM", "zero_shot"): "zero-shot",
    (NOISY, "HAM", "source/*"): "single source (mean)",
    (NOISY, "HAM", "ham"): "HAM",
}

PART = Part("sweeps/table.yaml", "Made up", "make mini-table", "All figures here are made up.")


@pytest.fixture
def runs(ham: Record, erm: Record, tmp_path: Path) -> list[FoundRun]:
    """Two held-out domains and two seeds of each method; the figures differ a little from run to run."""
    made = []
    for index, (held_out, seed) in enumerate([("photo", 0), ("photo", 1), ("sketch", 0), ("sketch", 1)]):
        made.append(of_sweep(erm, "ERM", held_out, seed, tmp_path, partial(shifted, by=0.01 * index * seed), NOISY))
        made.append(of_sweep(ham, "HAM", held_out, seed, tmp_path, partial(shifted, by=0.02 * index), NOISY))
    return made


def shifted(_: str, accuracy: float, by: float) -> float:
    return round(accuracy + by, 4)


def changed(run: FoundRun, **facts: object) -> FoundRun:
    return replace(run, summary=replace(run.summary, **facts))  # type: ignore[arg-type]


def test_a_part_says_what_becomes_of_batchnorm(runs: list[FoundRun]) -> None:
    text = results_markdown([changed(run, batchnorm="live") for run in runs], PART, METHODS, "ERM + SMA", [2])
    assert "\n\nBatchNorm statistics live (they move in training, and are merged).\n\n" in text


def test_part_looks_as_frozen(runs: list[FoundRun], same_as_golden: Callable[[str, str], None]) -> None:
    text = results_markdown(runs, PART, METHODS, "ERM + SMA", [2])
    same_as_golden(text, "results.md")


def test_page_names_its_command_and_carries_no_date(runs: list[FoundRun], tmp_path: Path) -> None:
    out = write_results(runs, tmp_path / "docs" / "results.md", PART, METHODS)
    text = out.read_text(encoding="utf-8")
    assert "```\nmake mini-table\n```" in text
    assert "seeds 0, 1" in text
    assert text.startswith("# Results\n\n<!-- begin: sweeps/table.yaml -->\n\n## Made up\n\nAll figures")
    assert text.endswith(f"{runs[1].summary.footnote}\n\n<!-- end: sweeps/table.yaml -->\n")
    assert not re.search(r"20\d\d-\d\d", text)


def test_every_table_row_has_as_many_cells_as_its_head(runs: list[FoundRun]) -> None:
    text = results_markdown(runs, PART, METHODS, "ERM + SMA", [2])
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_different_versions_are_all_named(runs: list[FoundRun]) -> None:
    newer = changed(runs[0], versions={**runs[0].summary.versions, "torch": "2.12.0"})
    text = results_markdown([newer, *runs[1:]], PART, METHODS, "ERM + SMA", [2])
    assert "torch 2.11.0 and 2.12.0" in text


def test_without_the_reference_nothing_is_compared(runs: list[FoundRun]) -> None:
    text = results_markdown(runs, PART, METHODS, "no such row", [2])
    assert "| method | photo | sketch | average | n | training, s |" in text
    assert "difference" not in text.lower()


def test_what_saw_the_held_out_domain_is_marked(runs: list[FoundRun]) -> None:
    assert TARGET_MARK not in results_markdown(runs, PART, METHODS, "ERM + SMA", [2])
    adapted = []
    for run in runs:
        steps = run.summary.steps
        merge = {"merge": replace(steps["merge"], opened=run.summary.targets)} if "merge" in steps else {}
        adapted.append(changed(run, steps={**steps, **merge}))
    text = results_markdown(adapted, PART, METHODS, "ERM + SMA", [2])
    # In the accuracies and in the differences.
    assert re.findall(r"\| (.*?) †", text) == ["HAM (reconstruction)"] * 2
    assert f"\n\n{TARGET_NOTE}\n\n" in text


def test_without_an_average_there_is_no_number_over_all_runs(runs: list[FoundRun]) -> None:
    joint = [
        changed(run, held_out="photo+sketch", targets=["photo", "sketch"]) if run.summary.held_out == "sketch" else run
        for run in runs
    ]
    for run in joint:
        for row in run.summary.rows:
            row["validation"] = 0.5
            if len(run.summary.targets) > 1:
                row["targets"]["photo"] = row["targets"]["sketch"]
    text = results_markdown(joint, PART, METHODS, "no such row", [2], validation=True)
    assert "| method | photo | photo+sketch | n | hold-out sets | training, s |" in text
    (line,) = re.findall(r"^\| HAM .*$", text, re.MULTILINE)
    assert line.endswith(f"| 2 | {MISSING} | {MISSING} |")


def test_hold_out_sets_have_a_column_on_demand(runs: list[FoundRun]) -> None:
    for run in runs:
        for row in run.summary.rows:
            row["validation"] = 0.5 + run.summary.seed / 10 if row["key"] == "ham" else None
    without, text = (results_markdown(runs, PART, METHODS, "no", [2], validation) for validation in (False, True))
    assert "hold-out sets" not in without
    assert "Beside it, the accuracy on the source domains' hold-out sets" in text
    assert "| n | hold-out sets | training, s |" in text
    columns = {line.split("|")[1].strip(): line.split("|")[6].strip() for line in text.splitlines() if "|" in line}
    # 50 and 60 %: a mean of 55, and a standard error of 7.07 / sqrt(2).
    assert columns["HAM (reconstruction)"] == "55.0 ± 5.0"
    assert columns["ERM"] == MISSING
    assert "which no model was trained on: the mean" in text
    for run in runs:
        run.summary.rows[-1]["note"] = SAW_HOLDOUTS
    text = results_markdown(runs, PART, METHODS, "no", [2], True)
    labels = listed(list(dict.fromkeys(run.summary.rows[-1]["label"] for run in runs)))
    assert f"which no model was trained on but {labels}: the mean" in text


def test_several_benchmarks_have_tables_of_their_own(runs: list[FoundRun]) -> None:
    others = [changed(run, benchmark="other") for run in runs]
    text = results_markdown([*runs, *others], PART, METHODS, "ERM + SMA", [2])
    assert re.findall(r"^### (.*)$", text, re.MULTILINE)[:2] == ["Mini, label noise 20 %", "Other, label noise 20 %"]


NASTY = "<script>|`[x](javascript:alert(1))\n*&"


def test_runs_of_several_machines_say_so(runs: list[FoundRun]) -> None:
    text = results_markdown(runs, PART, METHODS, "ERM + SMA", [1, 16])
    assert "; machines with 1 CPU core and 16 CPU cores; " in text


def test_cores_are_named_where_all_runs_noted_them(runs: list[FoundRun], tmp_path: Path) -> None:
    for run in runs:
        write_json(run.path / "done", {"files": {}, "start": {}, "cores": 16})
    page = write_results(runs, tmp_path / "page.md", PART, METHODS)
    assert "; seeds 0, 1; a machine with 16 CPU cores; hamdg" in page.read_text()
    write_json(runs[0].path / "done", {"files": {}, "start": {}})
    assert "; seeds 0, 1; hamdg" in write_results(runs, page, PART, METHODS).read_text()


def test_whatever_records_hold_stays_text(runs: list[FoundRun]) -> None:
    nasty = [
        changed(run, condition=NASTY, held_out=NASTY + run.summary.held_out, versions={NASTY: NASTY}) for run in runs
    ]
    methods = {(NASTY, variant, key): NASTY + label for (_, variant, key), label in METHODS.items()}
    part = Part("a.yaml", NASTY, f"hamdg sweep ```{NASTY}", "Intro.")
    text = results_markdown(nasty, part, methods, f"{NASTY}ERM + SMA", [2])
    # Our own code spans and marks of the best.
    text = re.sub(r"`accuracy_in[28]0`|(?<= )\*{1,2}(?=[\d.]+\*)|(?<=\d)\*{1,2}(?= )", "", text)
    written = re.sub(r"(?ms)^````\n.*?\n````$", "", text)
    assert "<" not in written
    assert not re.search(r"(?<!\\)[\[`*]", written)
    assert not re.search(r"&(?!amp;|lt;|gt;)", written)
    for table in re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_no_runs_is_an_error() -> None:
    with pytest.raises(
        DataError, match=re.escape("There are no finished runs to tabulate. Run `make mini-table` first.")
    ):
        results_markdown([], PART, METHODS, "ERM + SMA", [2])


def counts(noisy_candidates: int | None, noisy_added: int | None) -> SelectionCounts:
    return {"candidates": 100, "added": 40, "noisy_candidates": noisy_candidates, "noisy_added": noisy_added}


def selecting(record: Record, counts: dict[str, SelectionCounts]) -> Record:
    """Return the record with other counts of selected samples."""
    train: StepRecord = {**record["steps"]["train"], "facts": {"selection": counts}}
    return {**record, "steps": {**record["steps"], "train": train}}


def near(value: Estimate, mean: float, error: float, n: int) -> bool:
    assert value.standard_error is not None
    same_error = math.isclose(value.standard_error, error, abs_tol=1e-9)
    return math.isclose(value.mean, mean) and same_error and value.n == n


def test_noise_shares_by_hand(ham: Record, erm: Record, tmp_path: Path) -> None:
    few, more, clean = counts(20, 2), counts(20, 6), counts(None, None)
    first = of_sweep(selecting(ham, {"a": few, "b": few}), "HAM", "sketch", 0, tmp_path)
    second = of_sweep(selecting(ham, {"a": more}), "HAM", "sketch", 1, tmp_path)
    third = of_sweep(selecting(ham, {"a": clean}), "HAM", "sketch", 2, tmp_path)
    (row,) = noise_table([first, second, third, of_sweep(erm, "ERM", "sketch", 0, tmp_path)])
    assert (row.label, row.held_out) == ("HAM (reconstruction)", "sketch")
    assert near(row.offered, 0.2, 0.0, 2)
    assert row.added is not None
    assert near(row.added, 0.1, 0.05, 2)
    assert near(row.rate, 0.4, 0.0, 2)
    # A run that accepted nothing was offered wrong labels all the same.
    strict = of_sweep(selecting(ham, {"a": {**counts(20, 0), "added": 0}}), "HAM", "sketch", 3, tmp_path)
    (row,) = noise_table([first, second, strict])
    assert (row.offered.n, row.rate.n) == (3, 3)
    assert row.rate.mean == pytest.approx(0.8 / 3)
    assert row.added is not None
    assert near(row.added, 0.1, 0.05, 2)
    (row,) = noise_table([strict])
    assert row.added is None
    assert noise_markdown([row]).endswith(f"| 20.0 | {MISSING} | 0.0 | 1 |")
