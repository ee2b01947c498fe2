"""The three rules of selection: by hand, and against DomainBed's rules written anew over its own kind of records."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import FoundRun
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Cell, Table, Trial
from hamdg.report.tables.options import Absent, Rule, TableOptions
from tests.report.tables.conftest import DOMAINS, Made, row

RULES: tuple[Rule, ...] = ("validation", "leave_one_out", "oracle")
ENVS = range(len(DOMAINS))


def one(runs: Sequence[FoundRun], rule: Rule, **options: object) -> Table:
    (table,) = tabulate(runs, TableOptions(select=rule, **options))  # type: ignore[arg-type]
    return table


def tried(made: Made, lr: float, seed: int, accuracy: float, **metrics: object) -> FoundRun:
    return made("erm", "art", seed, accuracy, settings={"train.lr": lr}, **metrics)


def pair(made: Made, lr: float, held_out: str, accuracy: float) -> FoundRun:
    settings = {"train.lr": lr, "excluded": ["art"]}
    return made("erm", held_out, 0, 0.0, settings=settings, accuracy_in80=accuracy)


def test_the_best_on_the_sources_is_chosen_in_each_seed(made: Made) -> None:
    runs = [
        tried(made, 0.1, 0, 0.60, validation=0.9),
        tried(made, 0.2, 0, 0.90, validation=0.8),
        tried(made, 0.1, 1, 0.50, validation=0.7),
        tried(made, 0.2, 1, 0.70, validation=0.8),
    ]
    table = one(runs, "validation")
    found = table.cells[0][0]
    assert dict(found.values_by_seed) == {0: 0.60, 1: 0.70}
    assert dict(found.chosen) == {Trial("toy", "art", 0): "train.lr=0.1", Trial("toy", "art", 1): "train.lr=0.2"}
    assert "`train.lr` chosen by training-domain validation" in table.caption
    assert table.notes == ["Chosen for ERM: `train.lr=0.1` (1 of 2), `train.lr=0.2` (1 of 2)."]


def test_the_mean_of_source_models_is_chosen_by_the_mean_of_their_scores(made: Made) -> None:
    scores = {0.1: (0.9, 0.1), 0.2: (0.6, 0.6)}
    runs = []
    for lr, own in scores.items():
        rows = [row(f"source/{n}", "source", lr, ["art"], validation=score) for n, score in enumerate(own)]
        runs.append(made("erm", "art", 0, 0.5, settings={"train.lr": lr}, rows=rows))
    table = one(runs, "validation", models=("source/*",))
    assert dict(table.cells[0][0].chosen) == {Trial("toy", "art", 0): "train.lr=0.2"}


def test_the_oracle_chooses_by_the_small_part_and_says_so(made: Made) -> None:
    runs = [tried(made, lr, 0, 0.5, accuracy_in20=part) for lr, part in ((0.1, 0.4), (0.2, 0.6))]
    table = one(runs, "oracle", metric="accuracy_in80")
    assert table.cells[0][0].chosen == {Trial("toy", "art", 0): "train.lr=0.2"}
    assert "ORACLE" in table.caption


# A domain held out beside art, and the accuracy on it.
PAIRED = (("photo", 0.7), ("sketch", 0.5))


def test_leave_one_out_chooses_by_the_domains_held_out_beside_the_target(made: Made) -> None:
    runs = [tried(made, 0.1, 0, 0.60), tried(made, 0.2, 0, 0.70)]
    # Means over photo and sketch: .7 and .6.
    runs += [pair(made, 0.1, "photo", 0.8), pair(made, 0.1, "sketch", 0.6)]
    runs += [pair(made, 0.2, "photo", 0.9), pair(made, 0.2, "sketch", 0.3)]
    table = one(runs, "leave_one_out")
    assert [head.label for head in table.columns] == ["art"]
    assert table.cells[0][0].mean == 0.60
    assert table.problems == [
        "4 runs with a second domain held out are for leave-one-domain-out cross-validation; they are not shown."
    ]
    (said,) = one([runs[0], runs[2]], "leave_one_out").problems
    assert said == "1 run with a second domain held out is for leave-one-domain-out cross-validation; it is not shown."


def test_the_score_that_leave_one_out_chooses_by_is_a_metric(made: Made) -> None:
    runs = [tried(made, 0.1, 0, 0.60), tried(made, 0.2, 0, 0.70), tried(made, 0.3, 0, 0.80)]
    runs += [pair(made, 0.1, "photo", 0.8), pair(made, 0.1, "sketch", 0.6)]
    runs += [pair(made, 0.2, "photo", 0.9), pair(made, 0.2, "sketch", 0.3), pair(made, 0.3, "photo", 0.9)]
    options = TableOptions(metric="leave_one_out", rows=("train.lr",))
    (table,) = tabulate(runs, options)
    assert [head.values["train.lr"] for head in table.rows] == ["0.1", "0.2", "0.3"]
    assert [head.label for head in table.columns] == ["art"]
    # Not 0.60 and 0.70, which are of the target.
    assert [row[0].mean for row in table.cells] == [pytest.approx(0.7), pytest.approx(0.6), None]
    assert table.cells[2][0].missing == "lacks `sketch without art` (seed 0)"
    assert "by runs that trained on neither it nor the held-out domain" in table.caption
    with pytest.raises(ConfigError, match="shows what `--select leave_one_out` chooses by; give one of them"):
        tabulate(runs, TableOptions(metric="leave_one_out", select="leave_one_out"))
    with pytest.raises(
        DataError, match="No run has all runs with a second domain held out; a sweep with `leave_out: pairs`"
    ):
        tabulate(runs[:3], options)


def test_settings_are_scored_by_their_pairs_before_they_have_runs_of_their_own(made: Made) -> None:
    def held(lr: float, first: str, second: str, accuracies: tuple[float, float]) -> FoundRun:
        run = made("erm", f"{first}+{second}", 0, 0.0, settings={"train.lr": lr})
        for name, accuracy in zip((first, second), accuracies, strict=True):
            run.summary.result["targets"][name]["accuracy_in80"] = accuracy
        return run

    runs = [held(lr, "art", other, (0.1, value + lr)) for lr in (0.1, 0.2) for other, value in PAIRED]
    options = TableOptions(metric="leave_one_out", rows=("train.lr",))
    absent = [
        Absent({"train.lr": "0.1", "held_out": "art", "seed": "0", "benchmark": "toy"}, "not begun"),
        Absent({"train.lr": "0.3", "held_out": "art", "seed": "0", "benchmark": "toy"}, "not begun"),
    ]
    (table,) = tabulate([*runs, tried(made, 0.2, 0, 0.9)], options, absent)
    assert [head.label for head in table.columns] == ["art"]
    assert [cells[0].mean for cells in table.cells[:2]] == [pytest.approx(0.7), pytest.approx(0.8)]
    assert [one for one in table.problems if "begun" in one] == ["Missing: not begun (seed 0): train.lr=0.3 on art."]
    # Without a run that holds out one domain, all that the pairs can score are there.
    (table,) = tabulate(runs, options)
    assert [head.label for head in table.columns] == ["art"]
    (table,) = tabulate([*runs, *(held(lr, "photo", "sketch", (0.4, 0.2)) for lr in (0.1, 0.2))], options)
    assert [head.label for head in table.columns][:3] == ["art", "photo", "sketch"]
    assert table.cells[0][1].mean == pytest.approx((0.1 + 0.2) / 2)


def test_runs_of_a_condition_with_fewer_sources_are_no_pairs(made: Made) -> None:
    excluded = {"excluded": ["sketch"]}
    runs = [made("erm", "art", 0, 0.7), made("erm", "art", 0, 0.6, condition="two sources", settings=excluded)]
    (table,) = tabulate(runs, TableOptions(rows=("variant", "condition")))
    assert [[cell.mean for cell in cells] for cells in table.cells] == [[0.7], [0.6]]
    assert not any("cross-validation" in text for text in table.problems)
    # Nor are those on another benchmark, and each condition is scored by its own pairs.
    other = made("erm", "art", 0, 0.5, benchmark="other", settings=excluded)
    tables = tabulate([runs[0], other], TableOptions())
    assert [one.cells[0][0].mean for one in tables] == [0.5, 0.7]
    pairs = [pair(made, 0.1, "photo", 0.8), pair(made, 0.1, "sketch", 0.6)]
    few = {"train.lr": 0.1, **excluded}
    pairs.append(made("erm", "art+photo", 0, 0.0, condition="two sources", settings=few))
    singles = [tried(made, 0.1, 0, 0.6), made("erm", "art", 0, 0.6, condition="two sources", settings=few)]
    (table,) = tabulate([*singles, *pairs], TableOptions(metric="leave_one_out", rows=("variant", "condition")))
    assert [cells[0].mean for cells in table.cells] == [pytest.approx(0.7), 0.0]


@pytest.mark.parametrize("where", [{}, {"excluded": [""]}])
def test_pairs_are_told_apart_by_what_they_exclude_where_that_is_asked_for(
    made: Made, where: dict[str, list[str]]
) -> None:
    runs = [made("erm", "art", 0, 0.6)]
    for other, accuracy in (("photo", 0.8), ("sketch", 0.6)):
        runs.append(made("erm", f"art+{other}", 0, 0.0))
        runs[-1].summary.result["targets"][other]["accuracy_in80"] = accuracy
    options = TableOptions(metric="leave_one_out", rows=("excluded",), where=where)
    (table,) = tabulate(runs, options)
    assert [head.label for head in table.columns] == ["art"]
    assert table.cells[0][0].mean == pytest.approx(0.7)
    (table,) = tabulate(runs, replace(options, metric=None, select="leave_one_out"))
    assert [[cell.mean for cell in cells] for cells in table.cells] == [[0.6]]


def test_runs_with_several_targets_are_chosen_among_where_there_are_no_others(made: Made) -> None:
    runs = [
        made("erm", "art+photo", 0, accuracy, settings={"train.lr": lr}, validation=validation)
        for lr, accuracy, validation in ((0.1, 0.5, 0.9), (0.2, 0.6, 0.8))
    ]
    table = one(runs, "validation")
    assert [head.label for head in table.columns] == ["art+photo"]
    assert table.cells[0][0].mean == 0.5
    assert one(runs, "leave_one_out").cells[0][0].missing == "runs with a second domain held out are missing"
    both = one([*runs, tried(made, 0.1, 0, 0.7, validation=0.7)], "validation")
    assert [head.label for head in both.columns] == ["art"]


def test_settings_without_all_pairs_are_dropped_and_named(made: Made) -> None:
    runs = [tried(made, 0.1, 0, 0.60), tried(made, 0.2, 0, 0.70)]
    runs += [pair(made, 0.1, "photo", 0.1), pair(made, 0.1, "sketch", 0.1), pair(made, 0.2, "photo", 0.9)]
    table = one(runs, "leave_one_out")
    assert table.cells[0][0].mean == 0.60
    assert (
        "`art`, seed 0: 1 of 2 settings lack a run (sketch without art) that `leave_one_out` needs." in table.problems
    )
    nothing = one(runs[:2], "leave_one_out")
    assert nothing.cells[0][0].missing == "runs with a second domain held out are missing"


def test_one_run_with_two_targets_is_a_pair_of_both(made: Made) -> None:
    runs = [made("erm", held_out, 0, 0.5, settings={"train.lr": lr}) for held_out in DOMAINS for lr in (0.1, 0.2)]
    for lr in (0.1, 0.2):
        for first, second in (("art", "photo"), ("art", "sketch"), ("photo", "sketch")):
            run = made("erm", f"{first}+{second}", 0, 0.5, settings={"train.lr": lr})
            (own,) = run.summary.rows
            for target in (first, second):
                # The lower rate is better on photo, the higher one elsewhere.
                own["targets"][target]["accuracy_in80"] = 0.9 if (lr == 0.1) == (target == "photo") else 0.1
            runs.append(run)
    table = one(runs, "leave_one_out")
    assert [head.label for head in table.columns] == [*DOMAINS, "average"]
    chosen = {trial.held_out: text for cell in table.cells[0][:3] for trial, text in cell.chosen.items()}
    # For photo the others decide; for art and sketch photo and one other disagree, and the first settings win the tie.
    assert chosen == {"art": "train.lr=0.1", "photo": "train.lr=0.2", "sketch": "train.lr=0.1"}


def test_seeds_that_choose_among_fewer_settings_are_named(made: Made) -> None:
    runs = [tried(made, lr, seed, 0.5, validation=0.5) for lr, seed in ((0.1, 0), (0.2, 0), (0.1, 1))]
    assert one(runs, "validation").problems == [
        "`ERM` on `art`: seed 1 on `art` chooses among 1 settings, others among 2."
    ]


def test_runs_without_validation_are_dropped(made: Made) -> None:
    runs = [tried(made, 0.1, 0, 0.5), tried(made, 0.2, 0, 0.6, validation=0.1)]
    table = one(runs, "validation")
    assert table.cells[0][0].mean == 0.6
    assert table.problems == ["`art`, seed 0: 1 of 2 settings lack a run that `validation` needs."]


# DomainBed's rules (`model_selection.py`, `collect_results.py`), for runs of a single step.


def domainbed_records(generator: random.Random, lost: float) -> list[dict[str, Any]]:
    """Return made-up records as DomainBed's jobs write them: all settings and trials, one and two test domains."""
    records = []
    for algorithm in ("ERM", "HAM"):
        for trial in range(3):
            for hparams in range(4):
                for tests in [(env,) for env in ENVS] + [(a, b) for a in ENVS for b in ENVS if a < b]:
                    if generator.random() < lost:
                        continue
                    parts = {f"env{env}_{part}_acc": generator.random() for env in ENVS for part in ("in", "out")}
                    args = {"algorithm": algorithm, "trial_seed": trial, "hparams_seed": hparams, "test_envs": tests}
                    records.append({"args": args, **parts})
    return records


def domainbed_best(records: Sequence[dict[str, Any]], target: int, rule: Rule) -> float | None:
    """Return the test accuracy that a rule chooses among the records of one algorithm and trial."""
    judged = []
    for hparams in range(4):
        own = [one for one in records if one["args"]["hparams_seed"] == hparams and target in one["args"]["test_envs"]]
        single = [one for one in own if len(one["args"]["test_envs"]) == 1]
        if not single:
            continue
        (run,) = single
        others = [env for env in ENVS if env != target]
        if rule == "validation":
            score = float(np.mean([run[f"env{env}_out_acc"] for env in others]))
        elif rule == "oracle":
            score = run[f"env{target}_out_acc"]
        else:
            pairs = {
                env: one[f"env{env}_in_acc"]
                for one in own
                for env in others
                if set(one["args"]["test_envs"]) == {target, env}
            }
            if len(pairs) < len(others):
                continue
            score = sum(pairs.values()) / len(others)
        judged.append((score, run[f"env{target}_in_acc"]))
    return max(judged)[1] if judged else None


def as_runs(made: Made, records: Sequence[dict[str, Any]]) -> list[FoundRun]:
    runs = []
    for record in records:
        args = record["args"]
        tests = cast("tuple[int, ...]", args["test_envs"])
        validation = float(np.mean([record[f"env{env}_out_acc"] for env in ENVS if env not in tests]))
        run = made(
            args["algorithm"].lower(),
            "+".join(DOMAINS[env] for env in tests),
            args["trial_seed"],
            0.0,
            settings={"train.lr": 0.1 + args["hparams_seed"]},
            validation=validation,
        )
        for env in tests:
            parts = {"accuracy_in80": record[f"env{env}_in_acc"], "accuracy_in20": record[f"env{env}_out_acc"]}
            run.summary.result["targets"][DOMAINS[env]] |= parts
        runs.append(run)
    return runs


def same(found: Cell, values: Sequence[float]) -> bool:
    """Return whether a cell is what DomainBed prints of some trials: the mean, and `std(values / sqrt(n))`."""
    if not values:
        return found.mean is None
    error = float(np.std(np.array(values) / np.sqrt(len(values))))
    assert found.mean is not None
    return (
        math.isclose(found.mean, float(np.mean(values)))
        and math.isclose(found.standard_error or 0.0, error, abs_tol=1e-12)
        and found.n == len(values)
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lost", [0.0, 0.05, 0.3])
def test_the_rules_are_those_of_domainbed(made: Made, rule: Rule, lost: float) -> None:
    records = domainbed_records(random.Random(f"{rule} {lost}"), lost)
    table = one(as_runs(made, records), rule, metric="accuracy_in80", error="population")
    names = {"ERM": "ERM", "HAM": "HAM (reconstruction)"}
    columns = [head.label for head in table.columns]
    for algorithm, label in names.items():
        cells = table.cells[[head.label for head in table.rows].index(label)]
        by_trial = [
            [
                domainbed_best(
                    [
                        one
                        for one in records
                        if (one["args"]["algorithm"], one["args"]["trial_seed"]) == (algorithm, trial)
                    ],
                    target,
                    rule,
                )
                for target in ENVS
            ]
            for trial in range(3)
        ]
        for target in ENVS:
            own = [best for trial in by_trial if (best := trial[target]) is not None]
            assert same(cells[columns.index(DOMAINS[target])], own)
        # Its table of averages takes trials that lack a domain, too; ours takes whole ones.
        whole = [float(np.mean(cast("list[float]", trial))) for trial in by_trial if None not in trial]
        assert same(cells[columns.index("average")], whole)
