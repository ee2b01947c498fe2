from __future__ import annotations

from hamdg.report.many.scatter import Cost, Scatter, scatter


def drawn(*costs: tuple[str, float, float]) -> Scatter:
    methods = [Cost(name, cost, value, 0.5, name) for name, cost, value in costs]
    return scatter(methods, [("zero-shot, 60.0 %", 60.0)], ("training, seconds", "accuracy, %"), (600.0, 300.0))


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
