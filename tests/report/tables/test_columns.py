"""What makes columns and tables of their own, and averages over columns, worked out by hand."""

from __future__ import annotations

import math

import pytest

from hamdg.errors import DataError
from hamdg.report.collection import FoundRun
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.options import TableOptions
from tests.report.tables.conftest import Made, cell, near, one


def test_a_seed_without_all_domains_is_left_out_of_the_average(runs: list[FoundRun]) -> None:
    cut = [run for run in runs if (run.summary.algorithm, run.summary.held_out, run.summary.seed) != ("ham", "art", 1)]
    table = one(cut, baseline="ERM")
    average = cell(table, "HAM (reconstruction)", "average")
    assert near(average, 0.795, math.sqrt(2 * 6.25e-4 / 2), 2)
    assert average.difference is not None
    assert average.difference.n == 4
    assert cell(table, "HAM (reconstruction)", "art").incomplete == "no run (seed 1)"
    assert table.problems == ["Fewer seeds: no run (seed 1): HAM (reconstruction) on art."]


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


def test_benchmarks_as_rows_are_averaged_over_their_own_domains(made: Made) -> None:
    numbers = {("a", "art"): 0.2, ("a", "photo"): 0.4, ("b", "art"): 0.9, ("b", "sketch"): 0.7}
    runs = [made("erm", held_out, 0, value, benchmark=name) for (name, held_out), value in numbers.items()]
    table = one(runs, rows=("algorithm", "benchmark"))
    assert [head.label for head in table.columns] == ["art", "photo", "sketch", "average"]
    assert [[found.mean for found in cells] for cells in table.cells] == [
        [0.2, 0.4, None, pytest.approx(0.3)],
        [0.9, None, 0.7, pytest.approx(0.8)],
    ]
    assert table.problems == ["Missing: no run: ERM, a on sketch, ERM, b on photo."]


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


def test_single_classes_make_columns(made: Made) -> None:
    runs = [
        made("erm", held_out, 0, 0.5, per_class_accuracy=[0.2, value])
        for held_out, value in (("art", 0.6), ("photo", None))
    ]
    table = one(runs, metric="per_class_accuracy")
    assert [head.label for head in table.columns] == ["cat", "dog"]
    # `dog` has no image in `photo`.
    assert [found.mean for found in table.cells[0]] == [0.2, 0.6]


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


@pytest.mark.parametrize("keys", [{"columns": ("benchmark",)}, {"rows": ("algorithm",), "columns": ("seed",)}])
def test_means_over_held_out_domains_are_of_runs_with_a_single_one(made: Made, keys: dict[str, object]) -> None:
    runs = [made("erm", name, 0, value) for name, value in (("art", 0.2), ("photo", 0.4), ("art+photo", 0.9))]
    table = one(runs, **keys)
    assert table.cells[0][0].mean == pytest.approx(0.3)
    assert table.problems == [
        "1 run with several domains held out at once is no part of means over single ones, and not shown."
    ]
    # Where there are no others, they are the result.
    table = one(runs[2:], **keys)
    assert table.cells[0][0].mean == pytest.approx(0.9)
    assert table.problems == []
    assert one(runs, where={"held_out": ("art+photo",)}, **keys).cells[0][0].mean == pytest.approx(0.9)


def test_an_average_is_called_as_the_rows_that_it_is_over(runs: list[FoundRun]) -> None:
    table = one(runs, rows=("algorithm", "held_out"), columns=("seed",))
    assert [head.label for head in table.rows if head.is_average] == ["ERM, average", "HAM (reconstruction), average"]
