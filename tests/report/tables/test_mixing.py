"""What may not be averaged, and what the error says about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hamdg.errors import DataError
from hamdg.report.collection import FoundRun
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.options import TableOptions
from hamdg.runs.averages import Average
from tests.report.tables.conftest import Made


def refused(runs: Sequence[FoundRun], message: str, **options: object) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        tabulate(runs, TableOptions(**options))  # type: ignore[arg-type]


def test_runs_that_differ_in_hyper_parameters_are_not_averaged(made: Made) -> None:
    runs = [made("erm", "art", seed, 0.5, settings={"train.lr": lr}) for seed, lr in enumerate((0.01, 0.001))]
    refused(
        runs,
        "`ERM` on `art` would average runs that differ in `train.lr` (0.001, 0.01); make `train.lr` a row or column "
        "(`--rows algorithm,train.lr`), keep one value (`--where train.lr=0.001`), or choose among them with "
        "`--select validation`.",
    )


@pytest.mark.parametrize(
    ("key", "first", "second", "shown"),
    [
        ("model.name", "ViT-B-16", "RN50", "RN50, ViT-B-16"),
        ("model.normalization", "own", "imagenet", "imagenet, own"),
        ("data.subset", None, 8, "8, null"),
        ("data.mini.spurious", 0.0, 0.9, "0, 0.9"),
    ],
)
@pytest.mark.parametrize("select", [None, "validation"])
def test_runs_on_other_data_or_models_are_refused_whatever_the_rule(
    made: Made, key: str, first: object, second: object, shown: str, select: str | None
) -> None:
    runs = [
        made("erm", "art", seed, 0.5, settings={key: value}, validation=0.5)
        for seed, value in enumerate((first, second))
    ]
    refused(runs, f"would average runs that differ in `{key}` ({shown})", select=select)


def test_other_images_and_prompts_are_refused_by_name(made: Made) -> None:
    runs = [made("erm", "art", 0, 0.5), made("erm", "art", 1, 0.5, digest="e" * 64)]
    refused(
        runs,
        "`ERM` on `art` would average runs that differ in `images` (dddddddddddd, eeeeeeeeeeee); name only the folders "
        "of runs that belong together.",
    )
    # Of a subset drawn by the seed, every seed has other images.
    drawn = [
        made("erm", "art", seed, 0.5, digest=digest * 64, settings={"data.subset": 8})
        for seed, digest in enumerate("de")
    ]
    assert tabulate(drawn, TableOptions())[0].cells[0][0].n == 2


@pytest.mark.parametrize("select", [None, "validation"])
def test_other_means_over_held_out_domains_are_refused_whatever_the_rule(made: Made, select: str | None) -> None:
    runs, kinds = [], list[Average](["arithmetic", "harmonic"])
    for seed, kind in enumerate(kinds):
        run = made("erm", "art+photo", seed, 0.5, settings={"evaluate.average": kind}, validation=0.5)
        runs.append(FoundRun(run.path, replace(run.summary, average=kind)))
    message = "`ERM` on `art+photo` would average runs that differ in `evaluate.average` (arithmetic, harmonic)"
    refused(runs, message, select=select)
    # Of each domain alone it is the same, and each mean has a column of its own.
    (table,) = tabulate(runs, TableOptions(columns=("target",)))
    assert [(head.label, cell.n) for head, cell in zip(table.columns, table.cells[0], strict=True)] == [
        *(("art", 2), ("photo", 2), ("harmonic mean", 1), ("mean", 1))
    ]
    (table,) = tabulate(runs, TableOptions(rows=("algorithm", "evaluate.average")))
    assert [cells[0].n for cells in table.cells] == [1, 1]
    single = [
        made("erm", "art", seed, 0.5, settings={"evaluate.average": run.summary.average})
        for seed, run in enumerate(runs)
    ]
    assert tabulate(single, TableOptions())[0].cells[0][0].n == 2


def test_what_changes_no_result_may_differ(made: Made) -> None:
    changes: list[dict[str, object]] = [
        {"runtime.device": "cuda", "runtime.threads": 3},
        {"data.root": "/elsewhere", "data.cache": "/tmp"},
        {"controls.erm": False},
        # ERM has no use for these.
        {"merge.method": "ties", "ham.enrichment.enabled": False},
    ]
    runs = [made("erm", "art", seed, 0.5, settings=settings) for seed, settings in enumerate(changes)]
    assert tabulate(runs, TableOptions())[0].cells[0][0].n == 4


def test_a_row_is_not_averaged_over_domains_with_other_settings(made: Made) -> None:
    runs = [made("erm", name, 0, 0.5, settings={"train.steps": n}) for name, n in (("art", 100), ("photo", 300))]
    (table,) = tabulate(runs, TableOptions())
    assert [cell.mean for cell in table.cells[0]] == [0.5, 0.5, None]
    assert table.cells[0][-1].missing == "its runs differ in `train.steps` (100, 300)"
    assert table.problems == ["Missing: its runs differ in `train.steps` (100, 300): ERM on average."]


def test_two_runs_of_one_trial_contradict_each_other(made: Made) -> None:
    first = made("erm", "art", 0, 0.5)
    twin = made("erm", "art", 0, 0.6, settings={"runtime.device": "cuda"})
    refused(
        [first, twin],
        "`ERM` on `art` has two runs with seed 0 and held out `art` that contradict each other: 0.5000 in "
        f"`{first.path}`, 0.6000 in `{twin.path}`. Remove the older one, or name the folders that are meant.",
    )
    same = made("erm", "art", 0, 0.5, settings={"runtime.device": "cuda"})
    assert tabulate([first, same], TableOptions())[0].cells[0][0].n == 1


def test_zero_shot_depends_on_model_and_data_alone(made: Made) -> None:
    from tests.report.tables.conftest import row

    own = [row("zero_shot", "control", 0.5, ["art"])]
    runs = [made("erm", "art", seed, 0.7, rows=own, settings={"train.lr": lr}) for seed, lr in enumerate((0.1, 0.01))]
    (table,) = tabulate(runs, TableOptions(models=("zero_shot",)))
    assert table.cells[0][0].n == 2
    other = made("erm", "art", 2, 0.7, rows=own, settings={"model.name": "RN50"})
    refused(
        [*runs, other], "`zero-shot` on `art` would average runs that differ in `model.name`", models=("zero_shot",)
    )
