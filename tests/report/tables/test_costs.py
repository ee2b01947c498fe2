"""What rows cost beside a table's numbers, worked out by hand on made-up records."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hamdg.errors import ConfigError
from hamdg.report.collection import FoundRun
from hamdg.report.many.costs import cost_part
from hamdg.report.table import MISSING
from hamdg.report.tables import long, markup, plain
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import TableOptions
from hamdg.runs.summary import StepUsage
from tests.report.tables.conftest import Made, one, row


def costing(run: FoundRun, seconds: Mapping[str, float], images: int) -> FoundRun:
    """Return a run whose steps took so long."""
    steps = {name: StepUsage(["sources"], [], value, images) for name, value in seconds.items()}
    return replace(run, summary=replace(run.summary, steps=steps, images_seen=images))


def costs(table: Table) -> dict[str, list[float | None]]:
    return {cost.label: list(cost.values) for cost in table.costs}


@pytest.fixture
def trained(made: Made) -> list[FoundRun]:
    """ERM with 10 and 30 s; a merge with 15 and 35 s of training and 5 s of merging, three times the images."""
    erm = [made("erm", held_out, 0, 0.7) for held_out in ("art", "photo")]
    ham = [made("ham", held_out, 0, 0.8) for held_out in ("art", "photo")]
    return [
        *(costing(run, {"train": s, "evaluate": 99.0}, 1000) for run, s in zip(erm, (10.0, 30.0), strict=True)),
        *(costing(run, {"train": s, "merge": 5.0}, 3000) for run, s in zip(ham, (15.0, 35.0), strict=True)),
    ]


def test_costs_are_relative_to_the_baseline(trained: list[FoundRun]) -> None:
    table = one(trained, baseline="ERM", costs=True)
    # (15 + 5 + 35 + 5) / (10 + 30), without the evaluation.
    assert costs(table) == {"time / ERM": [1.0, 1.5], "images / ERM": [1.0, 3.0], "forward passes": [1.0, 1.0]}
    assert "over those of ERM (20.0 s and 1,000 images on average) in runs of the same seed and held" in table.caption


def test_costs_without_a_baseline_are_means(trained: list[FoundRun]) -> None:
    table = one(trained, costs=True)
    assert costs(table) == {"time, s": [20.0, 30.0], "images": [1000.0, 3000.0], "forward passes": [1.0, 1.0]}
    assert "as means over runs" in table.caption
    assert one(trained).costs == ()
    assert "Costs" not in one(trained).caption


def test_only_runs_with_a_partner_count(trained: list[FoundRun], made: Made) -> None:
    alone = costing(made("ham", "art", 1, 0.8), {"train": 9_000.0}, 9_000)
    assert costs(one([*trained, alone], baseline="ERM", costs=True))["time / ERM"] == [1.0, 1.5]


def test_each_benchmark_has_its_own_baseline(trained: list[FoundRun], made: Made) -> None:
    other = [
        costing(made(name, "art", 0, 0.5, benchmark="b"), {"train": s}, 10) for name, s in (("erm", 2.0), ("ham", 8.0))
    ]
    table = one([*trained, *other], rows=("benchmark", "algorithm"), baseline="ERM", costs=True)
    assert costs(table)["time / ERM"] == [1.0, 4.0, 1.0, 1.5]
    assert "on average" not in table.caption


def test_the_start_has_no_training_and_an_ensemble_several_passes(made: Made) -> None:
    rows = [row("zero_shot", "control", 0.5, ["art"]), row("ensemble", "merged", 0.6, ["art"])]
    rows[1]["passes"] = 3
    run = costing(made("experts", "art", 0, 0.7, rows=rows), {"train": 12.0}, 400)
    found = one([run], models=("zero_shot", "ensemble", "result"), rows=("model",), costs=True)
    assert [head.label for head in found.rows] == ["zero-shot", "ensemble", "experts"]
    assert costs(found) == {
        "time, s": [None, 12.0, 12.0],
        "images": [None, 400.0, 400.0],
        "forward passes": [1.0, 3.0, 1.0],
    }


def test_a_time_that_is_not_known_is_a_dash(made: Made) -> None:
    run = costing(made("erm", "art", 0, 0.7), {"train": float("nan")}, 400)
    assert costs(one([run], costs=True))["time, s"] == [None]


def test_controls_come_from_other_runs(made: Made) -> None:
    run = made("ham", "art", 0, 0.7, rows=[row("erm_sma", "control", 0.5, ["art"])])
    run = replace(run, summary=replace(run.summary, controls=["erm_sma"]))
    found = one([run], models=("erm_sma", "result"), rows=("model",), costs=True)
    assert costs(found)["images"] == [None, 960.0]


def test_every_format_has_them(trained: list[FoundRun]) -> None:
    tables = tabulate(trained, TableOptions(baseline="ERM", costs=True))
    assert "HAM (reconstruction)  *80.0  *80.0    *80.0  1        1.50          3.00               1\n" in plain.text(
        tables
    )
    assert "| algorithm | art | photo | average | n | time / ERM | images / ERM | forward passes |" in markup.markdown(
        tables
    )
    assert "| ERM | 70.0 | 70.0 | 70.0 | 1 | 1.00 | 1.00 | 1 |" in markup.markdown(tables)
    assert r"& n & time / ERM & images / ERM & forward passes \\" in markup.latex(tables)
    lines = [line for line in csv.DictReader(io.StringIO(long.as_csv(tables))) if line["metric"] != "accuracy"]
    assert [(line["metric"], line["row"], line["column"], line["mean"]) for line in lines][1] == (
        "relative_training_time",
        "HAM (reconstruction)",
        "time / ERM",
        "1.5",
    )
    assert len(lines) == 3 * 2
    data = long.as_data(tables)["tables"]
    assert data[0]["costs"][1] == {  # type: ignore[index]
        "name": "relative_images_seen",
        "label": "images / ERM",
        "values": [1.0, 3.0],
        "digits": 2,
    }


def test_methods_have_to_be_rows(trained: list[FoundRun]) -> None:
    with pytest.raises(ConfigError) as caught:
        one(trained, rows=("held_out",), columns=("algorithm",), costs=True)
    assert str(caught.value) == (
        "Costs are columns beside rows of methods, but `held_out` makes the rows; make it a column."
    )


def test_a_page_draws_no_cost_of_a_control_either(made: Made) -> None:
    runs = [made("ham", "art", seed, 0.7, rows=[row("erm_sma", "control", 0.5, ["art"])]) for seed in range(2)]
    runs = [replace(run, summary=replace(run.summary, controls=["erm_sma"])) for run in runs]
    # One method alone has a cost, which is nothing to compare.
    assert cost_part(one(runs, models=("erm_sma", "result"), rows=("model",))) is None
    runs += [made("erm", "art", seed, 0.6) for seed in range(2)]
    part = cost_part(one(runs, models=("erm_sma", "result")))
    assert part is not None
    images = {line.label: line.cells[-1][0] for line in part.rows}
    assert images == {"HAM (reconstruction)": "960", "ERM": "960", "HAM (reconstruction): erm-sma": MISSING}
