from __future__ import annotations

from itertools import combinations

import pytest

from hamdg.report.figures import BarList, Block, Chart, Heat, StepData, bar_list, blocks, heat
from hamdg.report.metrics import Metrics, Series
from hamdg.runs import figures as data

PAIR = "cartoon|photo"
STEPS = tuple(range(1, 31))


def cosines(before: float, after: float) -> Metrics:
    """Return constant cosines of one pair, and those of two layers, the deeper one first in the file."""
    return Metrics(
        {
            ("cosine/before", PAIR, ""): Series((1, 2), (before, before)),
            ("cosine/after", PAIR, ""): Series((1, 2), (after, after)),
            ("cosine/before", PAIR, "layer2"): Series((1, 2), (0.1, 0.3)),
            ("cosine/before", PAIR, "layer1"): Series((1, 2), (0.0, 0.2)),
            ("cosine/after", PAIR, "layer2"): Series((1, 2), (before and 0.1, 0.3 + after - before)),
            ("cosine/after", PAIR, "layer1"): Series((1, 2), (0.0, 0.2)),
        }
    )


def drawn(figures: list[data.Figure], metrics: Metrics, layers: tuple[str, ...] = ()) -> list[Block]:
    return blocks(figures, StepData(metrics), ["cartoon", "photo"], layers)


def charts(found: list[Block]) -> list[Chart]:
    return [one for block in found for one in block.items if isinstance(one, Chart)]


def heats(found: list[Block]) -> list[Heat]:
    return [one for block in found for one in block.items if isinstance(one, Heat)]


def lines(chart: Chart) -> list[tuple[str, str, int]]:
    return [(one.line.label, one.line.kind, one.line.color) for one in chart.drawn.strokes]


def test_before_is_dashed_and_after_solid() -> None:
    (block, *_) = drawn(data.direction_figures(), cosines(0.1, 0.4))
    (chart,) = charts([block])
    assert lines(chart) == [("cartoon / photo", "dashed", 0), ("cartoon / photo", "solid", 0)]
    assert block.meanings == ["before harmonization"]


def test_curves_that_are_the_same_are_drawn_once_and_solid() -> None:
    found = drawn(data.direction_figures(), cosines(0.1, 0.1))
    (chart,) = charts(found)
    assert lines(chart) == [("cartoon / photo", "solid", 0)]
    assert chart.meanings == []
    assert [one.title for one in heats(found)] == [
        "Cosine of updates by layer, before harmonization: mean over the steps"
    ]


def test_layers_show_the_mean_over_steps_in_the_order_of_depth() -> None:
    first, second = heats(drawn(data.direction_figures(), cosines(0.1, 0.4), ("layer1", "layer2")))
    assert first.columns == second.columns == ["layer1", "layer2"]
    assert [cell.text for cell in first.rows["cartoon / photo"]] == ["0.10", "0.20"]
    assert [cell.text for cell in second.rows["cartoon / photo"]] == ["0.10", "0.35"]


def test_without_a_list_of_layers_the_file_s_order_counts() -> None:
    first, _ = heats(drawn(data.direction_figures(), cosines(0.1, 0.4)))
    assert first.columns == ["layer2", "layer1"]


def test_many_pairs_are_drawn_as_their_mean() -> None:
    pairs = ["|".join(pair) for pair in combinations("abcde", 2)]
    series = {("cosine/before", pair, ""): Series((1, 2), (float(index), 0.0)) for index, pair in enumerate(pairs)}
    (chart,) = charts(drawn(data.direction_figures(), Metrics(series)))
    assert [label for label, _, _ in lines(chart)] == ["mean of 10"]
    assert chart.drawn.strokes[0].line.values == [4.5, 0.0]


def test_what_every_training_logs_comes_first_and_what_no_figure_names_last() -> None:
    names = ("own/penalty", "own/part", "gradient_norm", "own/whole", "loss")
    logged = Metrics({(name, "photo", ""): Series((1, 2), (0.5, 0.25)) for name in names})
    share = data.curves("Share", [data.curve("own/part", over="own/whole")], percent=True)
    found = charts(drawn([share], logged))
    assert [chart.title for chart in found] == ["Loss", "Gradient norm before clipping", "Share", "Own, penalty"]
    assert found[2].drawn.strokes[0].line.values == [100.0, 100.0]


def test_a_ratio_smooths_both_first() -> None:
    part = Series((1, 2), (4.0, 0.0))
    logged = Metrics({("a", "photo", ""): part, ("b", "photo", ""): Series((1, 2), (4.0, 4.0))})
    (chart,) = charts(drawn([data.curves("Share", [data.curve("a", over="b")])], logged))
    assert chart.drawn.strokes[0].line.values == [0.5, 0.5]


def test_only_long_and_noisy_curves_are_smoothed() -> None:
    logged = Metrics({("x", "photo", ""): Series(STEPS, tuple(float(step % 2) for step in STEPS))})
    (noisy,) = charts(drawn([data.curves("x", [data.curve("x")], smooth=True)], logged))
    (plain,) = charts(drawn([data.curves("x", [data.curve("x")])], logged))
    assert [kind for _, kind, _ in lines(noisy)] == ["faint", "solid"]
    assert (noisy.note, plain.note) == ("Faint: the steps themselves.", "")
    assert [kind for _, kind, _ in lines(plain)] == ["solid"]


def test_a_source_has_its_color_in_every_chart() -> None:
    logged = Metrics({("loss", "photo", ""): Series((1, 2), (1.0, 0.5)), ("own", "", ""): Series((1, 2), (1.0, 0.5))})
    loss, rate = charts(drawn([], logged))
    assert lines(loss) == [("photo", "solid", 1)]
    assert lines(rate) == [("all sources", "solid", 0)]


def test_charts_of_the_same_lines_stand_under_one_legend() -> None:
    logged = Metrics(
        {
            (name, source, ""): Series((1, 2), (1.0, 0.5))
            for name in ("loss", "gradient_norm", "own", "lr")
            for source in (("",) if name in ("own", "lr") else ("cartoon", "photo"))
        }
    )
    found = drawn([data.bars("Length", {"a": 1.0}), data.table("t", ["a"], [["b"]])], logged)
    assert [(block.kind, len(block.items)) for block in found] == [
        ("charts", 2),
        ("side", 1),
        ("table", 1),
        ("charts", 1),
    ]


def test_data_of_a_figure_are_drawn_over_their_own_axis() -> None:
    figure = data.lines("Validation", [data.series("mean", [0.0, 0.5, 1.0], [0.5, None, 0.75])], x="alpha")
    (chart,) = charts(drawn([figure], Metrics({})))
    assert chart.note == "Over alpha."
    assert chart.drawn.strokes[0].line.steps == [0.0, 1.0]
    assert [tick.text for tick in chart.drawn.step_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_heat_cells_are_tinted_by_value() -> None:
    found = heat(data.heat_map("t", ["x", "y", "z"], {"row": [0.25, -0.5, None]}, limits=(0.0, 0.5)))
    assert found is not None
    assert [(cell.text, cell.tint, cell.kind) for cell in found.rows["row"]] == [
        ("0.25", 0.5, ""),
        ("\N{MINUS SIGN}0.50", 1.0, "minus"),
        ("\N{EN DASH}", 0.0, "void"),
    ]


def test_a_tiny_negative_value_is_not_minus_zero() -> None:
    found = heat(data.heat_map("t", ["x"], {"row": [-0.0001]}))
    assert found is not None
    assert found.rows["row"][0].text == "0.00"


@pytest.mark.parametrize(
    ("columns", "tall"), [(["a", "transformer.resblocks.0"], True), (["a", "transformer.1"], False)]
)
def test_long_names_of_columns_are_written_upwards(columns: list[str], tall: bool) -> None:
    found = heat(data.heat_map("t", columns, {"row": [0.5, 0.5]}))
    assert found is not None
    assert found.tall is tall
    assert found.columns[1] == columns[1].removeprefix("transformer.")


def widths(found: BarList | None) -> list[float]:
    return [] if found is None else [bar.width for bar in found.bars]


def test_bars_are_scaled_to_the_largest() -> None:
    assert widths(bar_list(data.bars("t", {"a": 1.0, "b": 4.0, "c": -1.0}))) == [25.0, 100.0, 0.0]
    assert widths(bar_list(data.bars("t", {"a": 0.0}))) == [0.0]
    assert bar_list(data.bars("t", {})) is None
