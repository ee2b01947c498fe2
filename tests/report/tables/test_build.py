"""Means, differences, marks and reasons, worked out by hand on made-up records."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import Collection, FoundRun, Problem
from hamdg.report.table import BATCHNORM
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.missing import absent_of
from hamdg.report.tables.model import Cell, Table, Trial
from hamdg.report.tables.options import Absent, TableOptions
from hamdg.runs.summary import StepUsage
from tests.report.tables.conftest import FOOTNOTE, Made, row

# Accuracy by method, held-out domain and seed.
NUMBERS = {
    ("erm", "art"): [0.70, 0.72, 0.74],
    ("erm", "photo"): [0.80, 0.82, 0.84],
    ("ham", "art"): [0.73, 0.74, 0.78],
    ("ham", "photo"): [0.81, 0.85, 0.86],
}


@pytest.fixture
def runs(made: Made) -> list[FoundRun]:
    return [
        made(algorithm, held_out, seed, value)
        for (algorithm, held_out), values in NUMBERS.items()
        for seed, value in enumerate(values)
    ]


def one(runs: Sequence[FoundRun], *absent: Absent, **options: object) -> Table:
    (table,) = tabulate(runs, TableOptions(**options), absent)  # type: ignore[arg-type]
    return table


def cell(table: Table, row: str, column: str) -> Cell:
    rows, columns = [head.label for head in table.rows], [head.label for head in table.columns]
    return table.cells[rows.index(row)][columns.index(column)]


def near(found: Cell, mean: float, error: float | None, n: int) -> bool:
    assert found.mean is not None
    same = error is None if found.standard_error is None else math.isclose(found.standard_error, error or 0.0)
    return math.isclose(found.mean, mean) and same and found.n == n


def test_means_over_seeds_and_domains_by_hand(runs: list[FoundRun]) -> None:
    table = one(runs)
    assert [head.label for head in table.rows] == ["ERM", "HAM (reconstruction)"]
    assert [head.label for head in table.columns] == ["art", "photo", "average"]
    # .73, .74, .78: mean .75, squares 4 + 1 + 9 = 14 of 1e-4.
    assert near(cell(table, "HAM (reconstruction)", "art"), 0.75, math.sqrt(14e-4 / 2 / 3), 3)
    # Seed means .77, .795, .82: mean .795, squares 6.25 + 0 + 6.25 of 1e-4.
    average = cell(table, "HAM (reconstruction)", "average")
    assert near(average, 0.795, math.sqrt(12.5e-4 / 2 / 3), 3)
    assert dict(average.values_by_seed) == pytest.approx({0: 0.77, 1: 0.795, 2: 0.82})
    assert len(average.values) == len(average.runs) == 6


def test_the_error_of_domainbed_divides_by_n(runs: list[FoundRun]) -> None:
    found = cell(one(runs, error="population"), "HAM (reconstruction)", "art")
    assert near(found, 0.75, math.sqrt(14e-4 / 3 / 3), 3)


def test_the_order_of_runs_does_not_matter(runs: list[FoundRun]) -> None:
    assert one(runs, baseline="ERM") == one(runs[::-1], baseline="ERM")


def test_differences_are_paired_by_seed_and_domain(runs: list[FoundRun]) -> None:
    table = one(runs, baseline="ERM")
    assert table.baseline == "ERM"
    assert [head.is_baseline for head in table.rows] == [True, False]
    found = cell(table, "HAM (reconstruction)", "average").difference
    # .03, .02, .04 and .01, .03, .02: mean .025, squares 25 + 25 + 225 + 225 + 25 + 25 of 1e-6; t(5) reaches to 2.5706.
    half = 2.570581835636314 * math.sqrt(550e-6 / 5 / 6)
    assert found is not None
    assert [found.mean, found.low, found.high] == pytest.approx([0.025, 0.025 - half, 0.025 + half])
    assert found.n == 6
    paired = cell(table, "HAM (reconstruction)", "photo").paired
    assert dict(paired) == pytest.approx(
        {Trial("toy", "photo", seed): gain for seed, gain in enumerate([0.01, 0.03, 0.02])}
    )
    assert cell(table, "ERM", "average").difference is None


@pytest.mark.parametrize("name", ["ERM", "erm", "HAM", "ham", "HAM (reconstruction)"])
def test_the_baseline_is_found_by_any_of_its_names(runs: list[FoundRun], name: str) -> None:
    assert one(runs, baseline=name).baseline == ("ERM" if name.lower() == "erm" else "HAM (reconstruction)")


def test_an_unknown_baseline_is_answered_with_the_rows(runs: list[FoundRun]) -> None:
    message = "There is no row `SWAD` to compare with; `--baseline` can be `ERM`, `HAM (reconstruction)`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        one(runs, baseline="SWAD")


def test_the_best_is_marked_and_what_is_tied_with_it(made: Made) -> None:
    methods = {
        "best": [0.80, 0.82, 0.84],
        # Worse by .01 in every seed, but for rounding: different.
        "worse": [0.79, 0.81, 0.8301],
        # Worse by .02 in the mean, and by -.05, .06, .05 in seeds: t = .577, tied.
        "tied": [0.85, 0.76, 0.79],
    }
    runs = [made(name, "art", seed, value) for name, values in methods.items() for seed, value in enumerate(values)]
    table = one(runs)
    assert [(cell(table, name, "art").is_best, cell(table, name, "art").is_tied) for name in methods] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_the_lowest_calibration_error_is_the_best(made: Made) -> None:
    runs = [made(name, "art", 0, 0.5, calibration_error=value) for name, value in (("a", 0.2), ("b", 0.1))]
    table = one(runs, metric="calibration_error")
    assert [cell(table, name, "art").is_best for name in ("a", "b")] == [False, True]


def test_a_seed_without_all_domains_is_left_out_of_the_average(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out, run.summary.seed) != ("ham", "art", 1)]
    table = one(cut, baseline="ERM")
    average = cell(table, "HAM (reconstruction)", "average")
    assert near(average, 0.795, math.sqrt(2 * 6.25e-4 / 2), 2)
    assert average.difference is not None
    assert average.difference.n == 4
    assert cell(table, "HAM (reconstruction)", "art").incomplete == "no run (seed 1)"
    assert table.problems == ["Fewer seeds: no run (seed 1): HAM (reconstruction) on art."]


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


def test_the_reasons_of_a_sweep_are_grouped_by_seeds(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out) != ("ham", "art")]
    said = {"benchmark": "toy", "held_out": "art", "algorithm": "ham"}
    absent = [Absent({**said, "seed": str(seed)}, "failed: no memory.") for seed in (0, 2)]
    absent.append(Absent({**said, "seed": "1"}, "not begun"))
    found = cell(one(cut, *absent), "HAM (reconstruction)", "art")
    assert found.missing == "failed: no memory. (seeds 0, 2); not begun (seed 1)"


def test_rows_of_held_out_domains_are_the_same_table_turned(runs: list[FoundRun]) -> None:
    straight = one(runs, baseline="ERM")
    turned = one(runs, rows=("held_out",), columns=("algorithm",), baseline="ERM")
    assert [head.label for head in turned.rows] == ["art", "photo", "average"]
    assert [list(column) for column in zip(*turned.cells, strict=True)] == straight.cells


def test_benchmarks_and_conditions_have_tables_of_their_own(made: Made) -> None:
    runs = [
        made("erm", "art", 0, value, benchmark=benchmark, condition=condition)
        for benchmark, condition, value in (("b", "clean", 0.1), ("a", "noisy", 0.2), ("a", "clean", 0.3))
    ]
    tables = tabulate(runs, TableOptions())
    assert [table.title.partition(":")[0] for table in tables] == ["a", "a, noisy", "b"]
    assert [table.cells[0][0].mean for table in tables] == [0.3, 0.2, 0.1]
    ordered = tabulate(runs, TableOptions(order={"benchmark": ["b"], "condition": ["noisy", "clean"]}))
    assert [table.title.partition(":")[0] for table in ordered] == ["b", "a, noisy", "a"]


def test_benchmarks_as_columns_are_averaged_over_their_domains_first(made: Made) -> None:
    numbers = {("a", "art"): 0.2, ("a", "photo"): 0.4, ("b", "art"): 0.9}
    runs = [made("erm", held_out, 0, value, benchmark=name) for (name, held_out), value in numbers.items()]
    table = one(runs, columns=("benchmark",))
    assert [head.label for head in table.columns] == ["a", "b", "average"]
    # Not .5, the mean of all three.
    assert [found.mean for found in table.cells[0]] == pytest.approx([0.3, 0.9, 0.6])
    assert "Each number is a mean over held-out domains" in table.caption
    runs.append(made("erm", "photo", 0, 0.5, benchmark="b", settings={"train.steps": 900}))
    with pytest.raises(DataError, match=r"differ in `train\.steps`"):
        one(runs, columns=("benchmark",))


def test_averages_are_taken_within_each_other_column_key(made: Made) -> None:
    runs = [
        made("erm", held_out, 0, value, condition=condition)
        for condition, held_out, value in (
            *(("clean", "art", 0.2), ("clean", "photo", 0.4)),
            *(("noisy", "art", 0.1), ("noisy", "photo", 0.2)),
        )
    ]
    table = one(runs, columns=("condition", "held_out"))
    assert [head.label for head in table.columns] == [
        *("clean, art", "clean, photo", "clean, average"),
        *("noisy, art", "noisy, photo", "noisy, average"),
    ]
    assert [found.mean for found in table.cells[0]] == pytest.approx([0.2, 0.4, 0.3, 0.1, 0.2, 0.15])


def test_keys_of_recipes_make_rows_sorted_as_numbers(made: Made) -> None:
    runs = [made("erm", "art", 0, lr, settings={"train.lr": lr}) for lr in (0.1, 0.02, 0.003)]
    table = one(runs, rows=("train.lr",))
    assert [head.label for head in table.rows] == ["train.lr=0.003", "train.lr=0.02", "train.lr=0.1"]
    # A record that is older than the key has its default.
    table = one([*runs, made("erm", "art", 0, 0.5)], rows=("algorithm", "train.lr"))
    assert table.rows[0].label == "ERM, train.lr=0.001"


def test_draws_of_a_variant_are_called_by_what_their_labels_begin_with(made: Made) -> None:
    runs = [
        made("ham", "art", 0, 0.5, label=f"HAM, draw {draw}", settings={"train.lr": draw + 1.0}, validation=0.5)
        for draw in range(2)
    ]
    assert [head.label for head in one(runs, select="validation").rows] == ["HAM (reconstruction)"]
    assert [head.label for head in one(runs, rows=("label",)).rows] == [
        "HAM (reconstruction), draw 0",
        "HAM (reconstruction), draw 1",
    ]


def test_where_keeps_runs_that_say_so(runs: list[FoundRun]) -> None:
    table = one(runs, where={"held_out": ["photo"], "seed": ["0", "2"]})
    assert [head.label for head in table.columns] == ["photo"]
    assert cell(table, "ERM", "photo").n == 2
    assert one(runs, where={"train.lr": ["1e-3"]}) == one(runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ("algoritm",)}, "No run has a key `algoritm`; did you mean `algorithm`?"),
        ({"rows": ("train.lrs",)}, "No run has a key `train.lrs`; did you mean `train.lr`?"),
        ({"where": {"held_out": ["foto"]}}, "No run has `foto` as `held_out`; did you mean `photo`?"),
        ({"where": {"hold_out": ["photo"]}}, "No run has a key `hold_out`; did you mean `held_out`?"),
        ({"metric": "acuracy"}, "No run has a metric `acuracy`; did you mean `accuracy`?"),
        ({"models": ("hem",)}, "No run has a model `hem`; did you mean `ham`?"),
        ({"rows": ("held_out",), "columns": ("held_out",)}, "`held_out` makes both rows and columns"),
        (
            {"columns": ("class",)},
            "Only `--metric per_class_accuracy` (of label maps `per_class_IoU`) has a number for each `class`.",
        ),
    ],
)
def test_what_no_run_has_is_answered_with_the_nearest(
    runs: list[FoundRun], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        one(runs, **options)


def test_nothing_left_is_an_error(runs: list[FoundRun]) -> None:
    with pytest.raises(DataError, match=r"None of 12 runs has a number to show"):
        one(runs, where={"algorithm": ["ham"]}, models=("erm",))


def test_models_of_runs_stand_once_where_they_are_the_same(made: Made) -> None:
    runs = []
    for algorithm in ("erm", "ham"):
        own = [row("zero_shot", "control", 0.5, ["art"]), row("source/photo", "source", 0.4, ["art"])]
        runs.append(made(algorithm, "art", 0, 0.7, rows=[*own, row("source/sketch", "source", 0.2, ["art"])]))
    table = one(runs, models=("all",))
    assert [head.label for head in table.rows] == [
        *("zero-shot", "ERM: source models (mean)", "ERM"),
        *("HAM (reconstruction): source models (mean)", "HAM (reconstruction)"),
    ]
    assert cell(table, "zero-shot", "art").mean == 0.5
    assert cell(table, "ERM: source models (mean)", "art").mean == pytest.approx(0.3)
    chosen = one(runs, models=("result", "zero_shot"))
    assert [head.label for head in chosen.rows] == ["zero-shot", "ERM", "HAM (reconstruction)"]


def test_single_classes_make_columns(made: Made) -> None:
    runs = [
        made("erm", held_out, 0, 0.5, per_class_accuracy=[0.2, value])
        for held_out, value in (("art", 0.6), ("photo", None))
    ]
    table = one(runs, metric="per_class_accuracy")
    assert [head.label for head in table.columns] == ["cat", "dog"]
    # `dog` has no image in `photo`.
    assert [found.mean for found in table.cells[0]] == [0.2, 0.6]


def test_seconds_of_algorithms_without_a_step_called_train_are_those_before_the_evaluation(made: Made) -> None:
    run = made("erm", "art", 0, 0.5)
    steps = {
        name: StepUsage(["sources"], [], seconds, 9) for name, seconds in (("a", 30.0), ("b", 2.5), ("evaluate", 8.0))
    }
    other = replace(run, summary=replace(run.summary, steps=steps, timings={"a": 30.0, "b": 2.5, "evaluate": 8.0}))
    assert one([other], metric="train_seconds").cells[0][0].mean == 32.5


def test_seconds_and_validation_are_metrics(made: Made) -> None:
    runs = [made("erm", "art", seed, 0.5, timings={"train": 10.0 + seed}, validation=0.9) for seed in range(2)]
    found = one(runs, metric="train_seconds")
    assert found.cells[0][0].mean == 10.5
    assert not found.cells[0][0].is_best
    lost = [*runs, made("erm", "art", 2, 0.5, timings={"train": math.nan})]
    assert one(lost, metric="train_seconds").cells[0][0].mean == 10.5
    started = [made("erm", "art", 0, 0.5, rows=[row("zero_shot", "control", 0.5, ["art"])])]
    assert [head.label for head in one(started, models=("all",), metric="train_seconds").rows] == ["ERM"]
    assert (
        one(runs, metric="validation").title == "toy: source validation on the hold-out sets of the source domains, %"
    )


def test_what_was_not_measured_is_said(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5, calibration_error=0.1), made("ham", "art", 0, 0.5)]
    found = cell(one(runs, metric="calibration_error"), "ERM", "art")
    assert found.mean == 0.1
    table = one([*runs, made("ham", "photo", 0, 0.5, calibration_error=0.2)], metric="calibration_error")
    assert cell(table, "HAM (reconstruction)", "art").missing == "calibration error was not measured (seed 0)"


def test_footnotes_and_marks_of_target_data_follow_the_runs(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5), made("ham", "art", 0, 0.6), made("mtda", "art", 0, 0.7, opened=["art"])]
    table = one(runs)
    assert {head.label: head.target_data for head in table.rows} == {
        "ERM": False,
        "HAM (reconstruction)": False,
        "mtda": True,
    }
    assert table.notes[1:] == [FOOTNOTE]
    assert table.notes[0].startswith("\N{DAGGER} One of its steps read images of the held-out domain")
    assert one(runs[:1]).notes == []


def test_what_becomes_of_batchnorm_is_said_of_the_runs_it_is_of(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5), made("experts", "art", 0, 0.6)]
    summary = replace(runs[1].summary, batchnorm="live")
    notes = one([runs[0], replace(runs[1], summary=summary)]).notes
    assert notes == [f"BatchNorm statistics {BATCHNORM['live']} in {summary.label}."]


def test_rows_that_differ_in_more_than_their_names_are_said(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5), made("ham", "art", 0, 0.6, settings={"train.steps": 600})]
    assert one(runs).problems == ["The rows differ in `train.steps` (200, 600)."]
    assert one(runs, rows=("algorithm", "train.steps")).problems == []
    other = [made("erm", "art", 0, 0.5), made("ham", "art", 0, 0.6, digest="e" * 64)]
    assert one(other).problems == ["The rows differ in `images` (dddddddddddd, eeeeeeeeeeee)."]


def test_averages_over_benchmarks_may_differ_in_steps_and_say_so(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5, benchmark=name, settings={"train.steps": n}) for name, n in (("a", 1), ("b", 2))]
    table = one(runs, columns=("benchmark",))
    assert cell(table, "ERM", "average").mean == 0.5
    assert table.problems == ["The average of ERM is over runs that differ in `train.steps` (1, 2)."]


def test_runs_with_several_held_out_domains_are_columns_of_their_own(made: Made) -> None:
    runs = [made("erm", name, 0, value) for name, value in (("art", 0.2), ("photo", 0.4), ("art+photo", 0.9))]
    table = one(runs)
    assert [head.label for head in table.columns] == ["art", "art+photo", "photo", "average"]
    assert cell(table, "ERM", "average").mean == pytest.approx(0.3)


def test_equal_means_are_both_the_best(made: Made) -> None:
    table = one([made("erm", "art", 0, 0.5), made("ham", "art", 0, 0.5), made("coral", "art", 0, 0.4)])
    assert {head.label: cells[0].is_best for head, cells in zip(table.rows, table.cells, strict=True)} == {
        "ERM": True, "HAM (reconstruction)": True, "coral": False
    }  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        {"rows": ("algorithm",), "columns": ("held_out", "seed")},
        {"rows": ("algorithm", "held_out"), "columns": ("seed",)},
        {"rows": ("seed",), "columns": ("algorithm",), "where": {"held_out": ("art",)}},
    ],
)
def test_seeds_that_are_told_apart_lack_none_and_none_is_the_best_method(
    runs: list[FoundRun], keys: dict[str, object]
) -> None:
    table = one(runs, **keys)
    assert table.problems == []
    assert not any(cell.incomplete for cells in table.cells for cell in cells)
    if keys["rows"] != ("algorithm",):
        assert not any(cell.is_best or cell.is_tied for cells in table.cells for cell in cells)


def test_an_average_is_called_as_the_rows_that_it_is_over(runs: list[FoundRun]) -> None:
    table = one(runs, rows=("algorithm", "held_out"), columns=("seed",))
    assert [head.label for head in table.rows if head.is_average] == ["ERM, average", "HAM (reconstruction), average"]


def test_a_name_that_some_of_a_rows_runs_have_is_no_baseline(runs: list[FoundRun]) -> None:
    message = "There is no row `ERM` to compare with; `--baseline` can be `seed 0`, `seed 1`, `seed 2`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        one(runs, rows=("algorithm", "held_out"), columns=("seed",), baseline="ERM")
