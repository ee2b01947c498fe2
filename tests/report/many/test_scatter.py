from __future__ import annotations

import json
from pathlib import Path

import pytest

from hamdg.report.collection import collect
from hamdg.report.many.costs import cost_part
from hamdg.report.many.scatter import Cost, Scatter, scatter
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.options import TableOptions
from tests.made_up import METHODS, write_runs


def drawn(*costs: tuple[str, float, float], higher_is_better: bool = True) -> Scatter:
    methods = [Cost(name, cost, value, 0.5, name) for name, cost, value in costs]
    titles, size = ("training, seconds", "accuracy, %"), (600.0, 300.0)
    return scatter(methods, [("zero-shot, 60.0 %", 60.0)], titles, size, higher_is_better)


def test_costs_of_one_size_have_a_linear_axis_from_zero() -> None:
    chart = drawn(("a", 10.0, 70.0), ("b", 20.0, 75.0))
    assert not chart.is_logarithmic
    assert chart.x_ticks[0].text == "0"
    assert chart.x_ticks[0].at == chart.left


def test_costs_of_several_sizes_have_a_logarithmic_axis() -> None:
    chart = drawn(("a", 10.0, 70.0), ("b", 100.0, 75.0), ("c", 1000.0, 76.0))
    assert chart.is_logarithmic
    first, second, third = (point.x for point in sorted(chart.points, key=lambda point: point.method.cost))
    assert abs((second - first) - (third - second)) < 1e-9
    assert [tick.text for tick in chart.x_ticks] == ["10", "20", "50", "100", "200", "500", "1,000"]


def test_the_front_is_what_nothing_cheaper_beats() -> None:
    chart = drawn(("cheap", 10.0, 70.0), ("worse", 20.0, 69.0), ("better", 30.0, 75.0), ("dear", 40.0, 75.0))
    assert {point.method.label for point in chart.points if point.on_front} == {"cheap", "better"}
    assert len(chart.front.split()) == 2


def test_where_lower_is_better_the_front_is_what_nothing_cheaper_goes_below() -> None:
    errors = [("cheap", 10.0, 20.0), ("worse", 20.0, 21.0), ("better", 30.0, 15.0), ("dear", 40.0, 15.0)]
    chart = drawn(*errors, *(("bad", 50.0, value) for value in (90.0, 95.0)), higher_is_better=False)
    assert {point.method.label for point in chart.points if point.on_front} == {"cheap", "better"}
    # What is low is good, and stays.
    assert chart.below == []
    assert len(chart.points) == 6


@pytest.mark.parametrize(("metric", "has_part"), [("accuracy", True), ("train_seconds", False)])
def test_cost_against_cost_is_not_drawn(tmp_path: Path, metric: str, has_part: bool) -> None:
    write_runs(tmp_path, METHODS[:3], domains=("photo",), seeds=(0, 1))
    (table,) = tabulate(collect([tmp_path]).runs, TableOptions(rows=("variant",), metric=metric))
    assert (cost_part(table) is not None) == has_part


def test_a_page_passes_the_direction_of_its_metric_on(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, METHODS[:2], domains=("photo",), seeds=(0,))
    for run, error in zip(folder, (0.1, 0.3), strict=True):
        record = json.loads((run / "record.json").read_text(encoding="utf-8"))
        record["rows"][-1]["targets"]["photo"]["calibration_error"] = error
        (run / "record.json").write_text(json.dumps(record), encoding="utf-8")
    options = TableOptions(rows=("variant",), metric="calibration_error")
    (table,) = tabulate(collect([tmp_path]).runs, options)
    part = cost_part(table)
    assert part is not None
    # It is the cheaper one, too.
    assert part.text.startswith("No method that costs as much or less is better than ERM + SMA (filled).")


def test_what_costs_nothing_is_a_line_with_its_name() -> None:
    chart = drawn(("a", 10.0, 70.0), ("b", 20.0, 75.0))
    (level,) = chart.levels
    assert level.label.text == "zero-shot, 60.0 %"
    assert chart.foot > level.y > max(point.y for point in chart.points)


def test_whiskers_reach_one_error_to_either_side() -> None:
    chart = drawn(("a", 10.0, 70.0), ("b", 20.0, 75.0))
    for point in chart.points:
        assert point.low is not None
        assert point.high is not None
        assert abs((point.low - point.y) - (point.y - point.high)) < 1e-9


def test_methods_are_drawn_however_much_better_what_costs_nothing_is() -> None:
    methods = [Cost("ERM", 10.0, 10.0, 0.5, "ERM"), Cost("HAM", 20.0, 11.0, 0.5, "HAM")]
    free = [(f"control {number}", 60.0 + number) for number in range(6)]
    chart = scatter(methods, free, ("cost", "value"), (400.0, 300.0))
    assert {one.method.label for one in chart.points} == {"ERM", "HAM"}
    assert len(chart.levels) == 6
    assert not chart.below
