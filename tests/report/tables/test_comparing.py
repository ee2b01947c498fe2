"""Differences to a baseline, the best and what is tied with it, worked out by hand."""

from __future__ import annotations

import math
import re

import pytest

from hamdg.errors import ConfigError
from hamdg.report.collection import FoundRun
from hamdg.report.tables.model import Trial
from tests.report.tables.conftest import Made, cell, one


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


def test_averages_over_benchmarks_are_compared_by_their_seeds(made: Made) -> None:
    gains = {("a", "art"): [0.30, 0.31, 0.32], ("a", "photo"): [0.30, 0.31, 0.32], ("b", "art"): [-0.30, -0.30, -0.30]}
    runs = [
        made(method, held_out, seed, 0.5 + (gain if method == "ham" else 0.0), benchmark=benchmark)
        for (benchmark, held_out), own in gains.items()
        for seed, gain in enumerate(own)
        for method in ("erm", "ham")
    ]
    table = one(runs, columns=("benchmark",), baseline="ERM")
    erm, ham = (cell(table, name, "average") for name in ("ERM", "HAM (reconstruction)"))
    found = ham.difference
    assert found is not None
    assert ham.mean is not None
    assert erm.mean is not None
    # Of nine pairs it would be .107: `a` has two domains, and counts no more than `b`.
    assert found.mean == pytest.approx(ham.mean - erm.mean) == pytest.approx(0.005)
    # 0, .005 and .01: a deviation of .005; t(2) reaches to 4.3027.
    assert found.low == pytest.approx(0.005 - 4.302652729911275 * 0.005 / math.sqrt(3))
    assert found.n == 3
    assert (ham.is_best, erm.is_tied) == (True, True)
    inside = cell(table, "HAM (reconstruction)", "a").difference
    assert inside is not None
    assert inside.mean == pytest.approx(0.31)
    assert inside.n == 6
    assert table.caption.endswith("Averages over benchmarks are compared by their seeds alone.")
    assert "by their seeds alone" not in one(runs[:12], columns=("benchmark",), baseline="ERM").caption


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


def test_a_name_that_some_of_a_rows_runs_have_is_no_baseline(runs: list[FoundRun]) -> None:
    message = "There is no row `ERM` to compare with; `--baseline` can be `seed 0`, `seed 1`, `seed 2`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        one(runs, rows=("algorithm", "held_out"), columns=("seed",), baseline="ERM")


def test_of_baselines_of_several_conditions_none_gives_its_label_to_all(made: Made) -> None:
    runs = [
        made(method, "art", 0, value, condition=condition)
        for condition in ("clean", "noisy")
        for method, value in (("erm", 0.5), ("ham", 0.6))
    ]
    table = one(runs, rows=("algorithm", "condition"), baseline="ERM")
    assert table.baseline == "ERM"
    assert "Differences to ERM are means over pairs" in table.caption
    assert sum(head.is_baseline for head in table.rows) == 2
    assert one(runs[:2], rows=("algorithm", "condition"), baseline="ERM").baseline == "ERM, clean"
