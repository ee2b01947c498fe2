"""Means, rows, metrics and notes, worked out by hand on made-up records."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import FoundRun
from hamdg.report.table import BATCHNORM
from hamdg.runs.summary import StepUsage
from tests.report.tables.conftest import FOOTNOTE, Made, cell, near, one, row


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


def test_where_keeps_numbers_of_a_target_or_a_class(runs: list[FoundRun], made: Made) -> None:
    assert [head.label for head in one(runs, columns=("target",), where={"target": ["art"]}).columns] == ["art"]
    with pytest.raises(ConfigError, match=r"^No run has `foto` as `target`; did you mean `photo`\?$"):
        one(runs, where={"target": ["foto"]})
    classes = [made("erm", "art", 0, 0.5, per_class_accuracy=[0.4, 0.6])]
    table = one(classes, metric="per_class_accuracy", where={"class": ["dog"]})
    assert [head.label for head in table.columns] == ["dog"]
    assert table.cells[0][0].mean == 0.6


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
    with pytest.raises(
        DataError, match=r"^None of 12 runs has a number to show: source validation was not measured\.$"
    ):
        one(runs, metric="validation")


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


def test_runs_that_are_made_for_a_start_model_are_called_as_they_are(made: Made) -> None:
    runs = [made("zero_shot", "art", 0, 0.5, label=label) for label in ("one prompt", "three prompts")]
    found = one([*runs, made("erm", "art", 0, 0.7)], rows=("label",))
    assert [head.label for head in found.rows] == ["ERM", "one prompt", "three prompts"]


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
