from __future__ import annotations

import math
import re

import pytest

from hamdg.errors import DataError
from hamdg.report.aggregate import REFERENCE, noise_table, sweep_table
from hamdg.report.estimates import Estimate
from hamdg.runs.record import Record, StepRecord
from hamdg.runs.selection import SelectionCounts

CHOSEN = {
    ("clean", "ERM"): [("erm_sma", "ERM + SMA")],
    ("clean", "HAM"): [("zero_shot", "zero-shot"), ("source/*", "single source"), ("ham", "HAM")],
}


def run(base: Record, variant: str, held_out: str, seed: int, accuracies: dict[str, float]) -> Record:
    """Return a record whose rows have these accuracies."""
    rows = [{**row, "held_out": accuracies.get(row["key"], 0.0)} for row in base["rows"]]
    changed = {"variant": variant, "condition": "clean", "held_out": held_out, "seed": seed, "rows": rows}
    return {**base, **changed}  # type: ignore[typeddict-item]


@pytest.fixture
def sweep(ham: Record, erm: Record) -> list[Record]:
    records = []
    for seed, (first, second) in enumerate([(0.70, 0.80), (0.74, 0.80)]):
        records.append(run(ham, "HAM", "photo", seed, {"ham": first, "zero_shot": 0.5, "source/photo": 0.9}))
        records.append(run(ham, "HAM", "sketch", seed, {"ham": second, "zero_shot": 0.7, "source/photo": 0.6}))
        records.append(run(erm, "ERM", "photo", seed, {"erm_sma": 0.72}))
        records.append(run(erm, "ERM", "sketch", seed, {"erm_sma": 0.82}))
    return records


def counts(noisy_candidates: int | None, noisy_added: int | None) -> SelectionCounts:
    return {"candidates": 100, "added": 40, "noisy_candidates": noisy_candidates, "noisy_added": noisy_added}


def near(value: Estimate | None, mean: float, error: float | None, n: int) -> bool:
    assert value is not None
    assert (value.standard_error is None) == (error is None)
    same_error = error is None or math.isclose(value.standard_error or 0.0, error, abs_tol=1e-9)
    return math.isclose(value.mean, mean) and same_error and value.n == n


def test_means_over_seeds_by_hand(sweep: list[Record]) -> None:
    rows = {row.label: row for row in sweep_table(sweep, CHOSEN)}
    assert list(rows) == ["ERM + SMA", "zero-shot", "single source", "HAM (reconstruction)"]
    ham = rows["HAM (reconstruction)"]
    assert near(ham.by_domain["photo"], 0.72, 0.02, 2)
    assert near(ham.by_domain["sketch"], 0.80, 0.0, 2)
    # Seed means 0.75 and 0.77; the reference has 0.77 in both seeds.
    assert near(ham.average, 0.76, 0.01, 2)
    assert near(ham.difference, -0.01, 0.01, 2)
    assert rows[REFERENCE].difference is None
    assert near(rows["single source"].by_domain["photo"], 0.3, 0.0, 2)


def test_zero_shot_trains_nothing(sweep: list[Record], ham: Record) -> None:
    rows = {row.label: row for row in sweep_table(sweep, CHOSEN)}
    assert rows["zero-shot"].train_seconds is None
    assert near(rows["HAM (reconstruction)"].train_seconds, ham["timings"]["train"], 0.0, 4)


def test_a_seed_without_all_domains_is_left_out_of_the_mean(sweep: list[Record]) -> None:
    cut = [record for record in sweep if (record["variant"], record["held_out"], record["seed"]) != ("HAM", "photo", 1)]
    ham = sweep_table(cut, CHOSEN)[-1]
    assert near(ham.average, 0.75, None, 1)
    assert near(ham.difference, -0.02, None, 1)
    assert near(ham.by_domain["sketch"], 0.80, 0.0, 2)


def test_order_of_records_does_not_matter(sweep: list[Record]) -> None:
    assert sweep_table(sweep, CHOSEN) == sweep_table(sweep[::-1], CHOSEN)


def test_conditions_are_kept_apart(sweep: list[Record]) -> None:
    noisy: list[Record] = [{**record, "condition": "label noise 20 %"} for record in sweep]
    table = sweep_table(
        sweep + noisy, CHOSEN | {("label noise 20 %", name): rows for (_, name), rows in CHOSEN.items()}
    )
    assert [row.condition for row in table] == ["clean"] * 4 + ["label noise 20 %"] * 4
    assert table[3].average == table[7].average


def test_two_runs_for_one_cell_contradict(sweep: list[Record], ham: Record) -> None:
    again = run(ham, "HAM", "photo", 0, {"ham": 0.9, "zero_shot": 0.5, "source/photo": 0.9})
    message = "Two runs give `HAM (reconstruction)` on `photo` with seed 0 under `clean`: 0.7000 and 0.9000."
    with pytest.raises(DataError, match=re.escape(message)):
        sweep_table([*sweep, again], CHOSEN)


def test_a_row_that_is_not_there_is_named(sweep: list[Record]) -> None:
    message = (
        "No run of the variant `ERM` under `clean` has a row `ham`, only `zero_shot`, `erm`, `erm_sma`. "
        "Choose one of these under `rows` of the sweep file."
    )
    with pytest.raises(DataError, match=re.escape(message)):
        sweep_table(sweep, {("clean", "ERM"): [("ham", "HAM")]})


def selecting(record: Record, counts: dict[str, SelectionCounts]) -> Record:
    """Return the record with other counts of selected samples."""
    train: StepRecord = {**record["steps"]["train"], "facts": {"selection": counts}}
    return {**record, "steps": {**record["steps"], "train": train}}


def test_noise_shares_by_hand(ham: Record, erm: Record) -> None:
    few, more, clean = counts(20, 2), counts(20, 6), counts(None, None)
    first: Record = selecting(ham, {"a": few, "b": few})
    second: Record = selecting({**ham, "seed": 1}, {"a": more})
    third: Record = selecting(ham, {"a": clean})
    (row,) = noise_table([first, second, third, erm])
    assert (row.label, row.held_out) == ("HAM (reconstruction)", "sketch")
    assert near(row.offered, 0.2, 0.0, 2)
    assert near(row.added, 0.1, 0.05, 2)
    assert near(row.rate, 0.4, 0.0, 2)
