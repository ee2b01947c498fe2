from __future__ import annotations

import pytest

from hamdg.report import result
from hamdg.report.by_class import by_class
from hamdg.report.result import cards, other_metrics, what_was_read
from hamdg.report.table import run_table
from hamdg.runs.record import Record, Row


def test_nothing_is_claimed_of_what_was_read_where_no_step_noted_it(ham: Record) -> None:
    train, merge = ham["steps"]["train"], ham["steps"]["merge"]
    assert train["opened"] is None
    assert what_was_read(ham) == "Tested on 700 images of sketch."
    merge["opened"] = ["photo"]
    assert what_was_read(ham) == "Tested on 700 images of sketch."
    train["opened"] = ["photo"]
    assert what_was_read(ham) == "Tested on 700 images of sketch, none of which was read before the evaluation."


def test_a_step_that_read_the_target_is_named(ham: Record) -> None:
    train, merge = ham["steps"]["train"], ham["steps"]["merge"]
    train["opened"], merge["opened"] = ["photo", "sketch"], ["photo"]
    assert what_was_read(ham).endswith("The train step read images of it before: this is not domain generalization.")
    train["opened"] = None
    merge["opened"], merge["reads"] = None, ["sources", "targets"]
    assert what_was_read(ham) == (
        "Tested on 700 images of sketch. The merge step read images of it before, without their labels: this is "
        "test-time adaptation, not domain generalization."
    )
    train["opened"] = ["sketch"]
    assert "The train and merge steps read images of it before, without" in what_was_read(ham)
    assert "read images of them before, without" in what_was_read({**ham, "targets": ["sketch", "photo"]})


def test_the_axis_is_as_long_as_the_figures_need_and_said_in_words(ham: Record) -> None:
    found = result.result(ham)
    assert found.axis == "accuracy, 45 to 80 %"
    assert "The axis shows 45 to 80 % only, not 0 to 100: differences look larger than they are." in found.lead
    assert [tick.text for tick in found.ticks] == ["50", "60", "70", "80"]
    own = found.dots[-1]
    assert own.at == pytest.approx(100 * (71.29 - 45) / 35)
    assert (own.low, own.high) == pytest.approx((100 * (69.58 - 45) / 35, 100 * (73.0 - 45) / 35))
    assert found.start == pytest.approx(100 * (60.14 - 45) / 35)


def test_dots_rank_as_the_figures_do(ham: Record) -> None:
    dots = result.result(ham).dots
    by_place = sorted(dots, key=lambda dot: dot.at)
    assert [dot.row.held_out for dot in by_place] == sorted(row["held_out"] for row in ham["rows"])
    assert all(0 <= dot.low <= dot.at <= dot.high <= 100 for dot in dots)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_the_axis_does_not_leave_0_to_100(ham: Record, accuracy: float) -> None:
    rows: list[Row] = [{**ham["rows"][0], "held_out": accuracy, "standard_error": 0.0}]
    low, high = result._axis(run_table({**ham, "rows": rows}))
    assert 0 <= low < high <= 100


def test_a_run_without_a_start_model_has_neither_its_line_nor_its_card(ham: Record) -> None:
    bare: Record = {**ham, "zero_shot_accuracy": None, "rows": ham["rows"][1:]}
    found = result.result(bare)
    assert found.start is None
    assert "dashed line" not in found.lead
    assert [card.name for card in cards(bare)] == ["on sketch", "against ERM + SMA (pooled)", "source validation"]


def test_the_result_is_compared_with_the_last_control(ham: Record) -> None:
    assert ham["controls"] == ["erm", "erm_sma"]
    assert "against ERM + SMA (pooled)" in [card.name for card in cards(ham)]
    assert not any(card.name.startswith("against") for card in cards({**ham, "controls": []}))


def test_the_headline_says_which_part_it_is_of(ham: Record) -> None:
    assert result.result(ham).lead.startswith("Accuracy on all 700 images of sketch, in per cent.")
    lead = result.result({**ham, "part": "20%"}).lead
    assert lead.startswith("Accuracy on the 20 % part of the images, which no step has read, of sketch")


def test_several_targets_have_a_table_each(ham: Record) -> None:
    for row in ham["rows"]:
        row["targets"]["photo"] = {"accuracy": 0.5, "accuracy_in20": 0.25, "per_class_accuracy": [0.5] * 7}
    both: Record = {**ham, "targets": ["photo", "sketch"]}
    assert [one.every.title for one in by_class(both)] == ["On photo", "On sketch"]
    photo, sketch = other_metrics(both)
    assert photo["columns"] == ["model", "accuracy", "accuracy, 20 % part"]
    assert photo["rows"][0] == ["zero-shot", "50.0", "25.0"]
    assert sketch["columns"] == ["model", "accuracy", "accuracy, 80 % part", "macro accuracy"]
    assert "mean over the domains" in result.result(both).lead


def test_other_metrics_are_those_that_the_result_does_not_show(ham: Record) -> None:
    (found,) = other_metrics(ham)
    assert found["columns"] == ["model", "macro accuracy"]


def test_rows_of_one_label_are_both_shown_by_class(ham: Record) -> None:
    ham["rows"][1]["label"] = ham["rows"][2]["label"] = "twin"
    found = by_class(ham)[0].every
    assert len(found.rows) == len(ham["rows"])
    twins = ["twin (source/art_painting)", "twin (source/cartoon)"]
    assert [name for name in found.rows if name.startswith("twin")] == twins
