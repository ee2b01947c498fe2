"""A sweep's own tables: numbers by hand, the same as those of `hamdg table`, and which models have a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import FoundRun
from hamdg.report.many.differences import comparison_place
from hamdg.report.many.headline import main_cells
from hamdg.report.table import footnote_names, qualified
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.methods import REFERENCE, choose_methods, tabulate_methods
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import TableOptions
from hamdg.runs.record import Record
from tests.report.made import of_sweep
from tests.report.tables.conftest import Made, cell, near, row

METHODS = {
    ("clean", "ERM", "erm_sma"): "ERM + SMA",
    ("clean", "HAM", "zero_shot"): "zero-shot",
    ("clean", "HAM", "source/*"): "single source",
    ("clean", "HAM", "ham"): "HAM",
}


@pytest.fixture
def sweep(ham: Record, erm: Record, tmp_path: Path) -> list[FoundRun]:
    runs = []
    for seed, (photo, sketch) in enumerate([(0.70, 0.80), (0.74, 0.80)]):
        for held_out, own, start, source, erm_sma in (
            ("photo", photo, 0.5, 0.9, 0.72),
            ("sketch", sketch, 0.7, 0.6, 0.82),
        ):
            values = {"ham": own, "zero_shot": start, "source/photo": source, "erm_sma": erm_sma}
            for name, record in (("HAM", ham), ("ERM", erm)):
                runs.append(of_sweep(record, name, held_out, seed, tmp_path, partial(chosen, values=values)))
    return runs


def chosen(key: str, _: float, values: Mapping[str, float]) -> float:
    return values.get(key, 0.0)


def only(runs: list[FoundRun], baseline: str = "", metric: str | None = None) -> Table:
    (table,) = tabulate_methods(runs, METHODS, baseline, metric)
    return table


def test_means_over_seeds_by_hand(sweep: list[FoundRun]) -> None:
    table = only(sweep, REFERENCE)
    assert [row.label for row in table.rows] == ["ERM + SMA", "zero-shot", "single source", "HAM (reconstruction)"]
    assert [column.label for column in table.columns] == ["photo", "sketch", "average"]
    assert near(cell(table, "HAM (reconstruction)", "photo"), 0.72, 0.02, 2)
    assert near(cell(table, "HAM (reconstruction)", "sketch"), 0.80, 0.0, 2)
    # Seed means 0.75 and 0.77; the reference has 0.77 in both seeds.
    average = cell(table, "HAM (reconstruction)", "average")
    assert near(average, 0.76, 0.01, 2)
    assert average.difference is not None
    # Pairs -.02, -.02, .02, -.02: squares 3 * 1 + 9 of 1e-4, so 0.01 over the root of 4; t(3) reaches to 3.1824.
    half = 3.182446305284263 * 0.01
    found = [average.difference.mean, average.difference.low, average.difference.high]
    assert found == pytest.approx([-0.01, -0.01 - half, -0.01 + half])
    assert cell(table, REFERENCE, "average").difference is None
    # Of three source models one has 0.9, the others nothing.
    assert near(cell(table, "single source", "photo"), 0.3, 0.0, 2)


@pytest.mark.parametrize("error", [0.0, 0.013])
def test_a_sweeps_table_has_the_numbers_of_hamdg_table(made: Made, error: float) -> None:
    runs = [
        made(algorithm, held_out, seed, value + error * seed**2 * len(held_out), timings={"train": 60.0 + seed})
        for algorithm, values in {"erm": (0.70, 0.82), "ham": (0.73, 0.81)}.items()
        for held_out, value in zip(("art", "photo"), values, strict=True)
        for seed in range(3)
        if (algorithm, held_out, seed) != ("ham", "art", 1)
    ]
    methods = choose_methods(runs, {"ERM": {"erm": "ERM"}, "HAM (reconstruction)": {"ham": "HAM (reconstruction)"}})
    for metric in ("accuracy", "train_seconds"):
        (own,) = tabulate_methods(runs, methods, "ERM", metric)
        (other,) = tabulate(runs, TableOptions(rows=("variant",), metric=metric, baseline="ERM"))
        assert [row.label for row in own.rows] == [row.label for row in other.rows]
        assert [column.label for column in own.columns] == [column.label for column in other.columns]
        assert own.cells == other.cells
        assert (own.caption, own.notes, own.problems) == (other.caption, other.notes, other.problems)
        assert cell(own, "HAM (reconstruction)", "average").n == 2


def test_zero_shot_trains_nothing(sweep: list[FoundRun], ham: Record) -> None:
    table = only(sweep, metric="train_seconds")
    assert cell(table, "zero-shot", "average").mean is None
    assert near(cell(table, "HAM (reconstruction)", "average"), ham["timings"]["train"], 0.0, 2)


def test_a_seed_without_all_domains_is_left_out_of_the_average(sweep: list[FoundRun]) -> None:
    gone = ("HAM", "photo", 1)
    cut = [run for run in sweep if (run.summary.variant, run.summary.held_out, run.summary.seed) != gone]
    table = only(cut, REFERENCE)
    average = cell(table, "HAM (reconstruction)", "average")
    assert near(average, 0.75, None, 1)
    assert average.difference is not None
    assert average.difference.mean == pytest.approx(-0.02)
    assert near(cell(table, "HAM (reconstruction)", "sketch"), 0.80, 0.0, 2)
    assert any(text.startswith("Fewer seeds: no run (seed 1): ") for text in table.problems)


def test_the_order_of_runs_does_not_matter(sweep: list[FoundRun]) -> None:
    assert only(sweep, REFERENCE) == only(sweep[::-1], REFERENCE)


def test_conditions_are_kept_apart_in_their_order(sweep: list[FoundRun]) -> None:
    noisy = [replace(run, summary=replace(run.summary, condition="a noise")) for run in sweep]
    methods = METHODS | {("a noise", variant, key): label for (_, variant, key), label in METHODS.items()}
    first, second = tabulate_methods(sweep + noisy, methods)
    assert (first.place["condition"], second.place["condition"]) == ("clean", "a noise")
    assert [[one.mean for one in row] for row in first.cells] == [[one.mean for one in row] for row in second.cells]


def test_a_row_of_one_condition_alone_stands_where_that_condition_has_it(sweep: list[FoundRun]) -> None:
    noisy = [replace(run, summary=replace(run.summary, condition="noise")) for run in sweep]
    of_noise = {
        ("noise", "HAM", "zero_shot"): "zero-shot",
        ("noise", "HAM", "source/photo"): "photo alone",
        ("noise", "HAM", "ham"): "HAM",
    }
    _, second = tabulate_methods(sweep + noisy, METHODS | of_noise)
    assert [row.label for row in second.rows] == ["zero-shot", "photo alone", "HAM (reconstruction)"]


def test_a_model_that_no_run_has_is_refused(sweep: list[FoundRun]) -> None:
    with pytest.raises(ConfigError, match=re.escape("No run has a model `hamm`; did you mean `ham`?")):
        choose_methods(sweep, {"ERM": None, "HAM": {"hamm": "HAM"}})


def run(base: Record, variant: str, folder: Path, **accuracies: float) -> FoundRun:
    return of_sweep(base, variant, "sketch", 0, folder, lambda key, own: accuracies.get(key, own))


def labels(runs: list[FoundRun], **selected: dict[str, str]) -> list[str]:
    """Return the labels of the table of a sweep."""
    methods = choose_methods(runs, {name: selected.get(name) for name in {one.summary.variant for one in runs}})
    (table,) = tabulate_methods(runs, methods)
    return [row.label for row in table.rows]


def test_every_row_of_every_run_is_shown_under_its_own_label(ham: Record, erm: Record, tmp_path: Path) -> None:
    own = [qualified(row["label"], footnote_names([ham["footnote"]])) for row in ham["rows"]]
    assert len(own) == 10
    assert labels([run(ham, "mine", tmp_path)]) == own
    assert labels([run(erm, "ERM", tmp_path)]) == [row["label"] for row in erm["rows"]]


def test_rows_that_are_the_same_in_all_variants_are_shown_once_and_others_say_whose_they_are(
    ham: Record, tmp_path: Path
) -> None:
    first, second = run(ham, "HAM", tmp_path), run(ham, "HAM, keep 0.2", tmp_path, ham=0.5, shrunk=0.25)
    # A row that is shown once is that of one variant: these differ in their merge.
    second = replace(second, summary=replace(second.summary, config={**second.summary.config, "merge": {"keep": 0.2}}))
    (shrunk,) = (row["label"] for row in ham["rows"] if row["key"] == "shrunk")
    found = labels([first, second])
    assert len(found) == len(set(found)) == len(ham["rows"]) + 2
    assert found[0] == "zero-shot"
    assert found.count("zero-shot") == 1
    assert [label for label in found if label.startswith("HAM (")] == [
        f"HAM (reconstruction): {shrunk}",
        "HAM (reconstruction)",
        f"HAM (reconstruction), keep 0.2: {shrunk}",
        "HAM (reconstruction), keep 0.2",
    ]


def test_two_results_are_two_rows_even_where_they_are_equal(ham: Record, tmp_path: Path) -> None:
    found = labels([run(ham, "one", tmp_path), run(ham, "two", tmp_path)])
    assert [label for label in found if "HAM" in label] == ["one: HAM (reconstruction)", "two: HAM (reconstruction)"]


def test_a_selection_names_rows_and_leaves_out_others(ham: Record, erm: Record, tmp_path: Path) -> None:
    runs = [run(ham, "own", tmp_path), run(erm, "ERM", tmp_path)]
    found = labels(runs, own={"ham": "HAM", "source/*": "sources, mean"})
    assert found == ["HAM (reconstruction)", "sources, mean", *(row["label"] for row in erm["rows"])]


def test_a_label_of_the_sweep_file_stays_and_the_others_make_room(ham: Record, erm: Record, tmp_path: Path) -> None:
    found = labels(
        [run(ham, "own", tmp_path), run(erm, "ERM", tmp_path, zero_shot=0.1)], own={"zero_shot": "zero-shot"}
    )
    assert found[:2] == ["zero-shot", "ERM: zero-shot"]


def test_one_label_for_different_numbers_is_refused(ham: Record, tmp_path: Path) -> None:
    message = (
        "Two variants call a row `HAM (reconstruction)`, but it is 0.7000 for one and 0.9000 for the other on `sketch` "
        "with seed 0 under `clean`; give one of them another label under `rows` of the sweep file."
    )
    runs = [run(ham, "one", tmp_path, ham=0.7), run(ham, "two", tmp_path, ham=0.9)]
    with pytest.raises(DataError, match=re.escape(message)):
        labels(runs, one={"ham": "HAM"}, two={"ham": "HAM"})


@pytest.mark.parametrize("reverse", [False, True])
def test_a_source_model_has_no_number_where_its_domain_is_held_out(ham: Record, tmp_path: Path, reverse: bool) -> None:
    gone = ham["rows"][1]
    assert gone["key"].startswith("source/")
    rows = [row for row in ham["rows"] if row is not gone]
    other = of_sweep({**ham, "rows": rows}, "own", "photo", 0, tmp_path)
    runs = [run(ham, "own", tmp_path), other]
    methods = choose_methods(runs[::-1] if reverse else runs, {"own": None})
    assert [key for _, _, key in methods] == [row["key"] for row in ham["rows"]]
    (table,) = tabulate_methods(runs, methods)
    assert cell(table, gone["label"], "sketch").mean == pytest.approx(gone["held_out"])
    assert cell(table, gone["label"], "photo").missing == "no such model (seed 0)"
    assert cell(table, gone["label"], "average").mean is None


def test_variants_that_leave_out_a_domain_keep_their_rows(made: Made) -> None:
    runs = [
        made("ham", "art", 0, 0.7, label="all"),
        made("ham", "art", 0, 0.6, label="fewer", settings={"excluded": ["photo"]}),
    ]
    (table,) = tabulate_methods(runs, choose_methods(runs, {}))
    assert [cells[0].mean for cells in table.cells] == [0.7, 0.6]


def several(made: Made, seed: int, values: Mapping[str, tuple[float, float]], condition: str = "clean") -> FoundRun:
    """Return a run that holds two domains out at once, and whose steps have read them: 20 % is not seen."""
    found = made("mtda", "art+photo", seed, 0.9, condition=condition)
    rows = []
    for key, own in values.items():
        rows.append(row(key, "merged", 0.9, ["art", "photo"]))
        for name, value in zip(("art", "photo"), own, strict=True):
            rows[-1]["targets"][name]["accuracy_in20"] = value
    summary = replace(found.summary, part="20%", average="harmonic", rows=rows)
    return FoundRun(found.path, summary)


def test_domains_held_out_at_once_have_columns_of_the_part_that_is_not_seen(made: Made) -> None:
    runs = [several(made, seed, {"single": (0.6, 0.2 + seed / 10), "mtda": (0.4, 0.4)}) for seed in (0, 1)]
    (table,) = tabulate_methods(runs, choose_methods(runs, {}), "mtda")
    assert [head.label for head in table.columns] == ["art", "photo", "harmonic mean"]
    assert table.title == "toy: accuracy on the 20 % part of the held-out domain, %"
    assert near(cell(table, "single", "photo"), 0.25, 0.05, 2)
    # 2 * .6 * .2 / .8 is .3 and 2 * .6 * .3 / .9 is .4.
    whole = cell(table, "single", "harmonic mean")
    assert near(whole, 0.35, 0.05, 2)
    assert whole.difference is not None
    assert whole.difference.mean == pytest.approx(-0.05)
    assert table.baseline == "mtda"
    assert "a column each" in table.caption
    assert "mean over held-out domains" not in table.caption
    assert "Averages are taken" not in table.caption
    # What figures and pages rank by, and name.
    assert [one.mean for one in main_cells(table)] == pytest.approx([0.35, 0.4])
    assert comparison_place(table) == "on average"
    assert [head.is_average for head in table.columns] == [False, False, True]
    (seconds,) = tabulate_methods(runs, choose_methods(runs, {}), metric="train_seconds")
    assert [head.label for head in seconds.columns] == ["art+photo"]


def test_captions_begin_with_a_metric_as_it_is_written(made: Made) -> None:
    runs = [several(made, 0, {"mtda": (0.4, 0.4)})]
    for metrics in runs[0].summary.rows[0]["targets"].values():
        metrics["mIoU"] = 0.5
    (table,) = tabulate_methods(runs, choose_methods(runs, {}), metric="mIoU")
    assert table.caption.startswith("mIoU on the whole held-out domain, in per cent")
    (table,) = tabulate_methods(runs, choose_methods(runs, {}))
    assert table.caption.startswith("Accuracy ")


def test_hamdg_table_has_a_column_a_target_when_asked(made: Made) -> None:
    runs = [several(made, 0, {"single": (0.6, 0.2), "mtda": (0.4, 0.5)}), made("erm", "art+photo", 0, 0.7)]
    (table,) = tabulate(runs, TableOptions(columns=("target",)))
    assert [head.label for head in table.columns] == ["art", "photo", "harmonic mean", "mean"]
    assert [cells[1].mean for cells in table.cells] == pytest.approx([0.7, 0.5])


def test_choices_of_domains_that_differ_stay_columns(made: Made) -> None:
    runs = [several(made, 0, {"mtda": (0.4, 0.4)}), made("mtda", "art+sketch", 0, 0.5)]
    (table,) = tabulate_methods(runs, choose_methods(runs, {}))
    assert [head.label for head in table.columns] == ["art+photo", "art+sketch", "average"]
