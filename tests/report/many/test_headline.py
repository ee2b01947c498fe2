from __future__ import annotations

from dataclasses import replace

from hamdg.report.many.headline import headline
from hamdg.report.table import MISSING
from hamdg.report.tables.model import Metric, Table
from tests.report.many.hand_made import made_table

TABLE = made_table(
    {
        "ERM": {"photo": [70, 72], "sketch": [80, 82]},
        "HAM": {"photo": [75, 77], "sketch": [79, 81]},
        "CORAL": {"photo": [60, 62]},
    },
    tied=["ERM"],
)


def test_the_average_comes_first_and_the_best_on_top() -> None:
    top = headline(TABLE)
    assert [column.label for column in top.columns] == ["average", "photo", "sketch"]
    assert [line.head.label for line in top.lines] == ["HAM", "ERM", "CORAL"]
    assert [line.is_best for line in top.lines] == [True, False, False]
    first = top.lines[0].numbers[0]
    assert (first.text, first.error, first.mark) == ("78.0", "1.0", "best")
    assert top.lines[1].numbers[0].mark == "tied"


def test_what_is_missing_has_a_letter_and_its_reason() -> None:
    top = headline(TABLE)
    coral = top.lines[-1]
    assert [(one.text, one.order, one.notes) for one in coral.numbers[::2]] == [(MISSING, "", "a")] * 2
    assert top.notes == {"a": "not begun"}
    assert coral.strip.at is None


def test_every_reason_has_a_letter_of_its_own() -> None:
    cells = [
        [replace(cell, incomplete=f"reason {r} {c}") for c, cell in enumerate(row)] for r, row in enumerate(TABLE.cells)
    ]
    top = headline(replace(TABLE, cells=cells))
    assert list(top.notes)[:3] == ["a", "b", "c"]
    assert set(top.notes.values()) == {f"reason {r} {c}" for r in range(3) for c in range(3)} | {"not begun"}


def test_a_single_seed_has_no_whisker_and_says_so() -> None:
    top = headline(made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}}))
    assert [line.n for line in top.lines] == ["1", "1"]
    strip = top.lines[0].strip
    assert (strip.low, strip.high, strip.seeds) == (None, None, ())
    assert strip.text == "HAM, average: 75.0 %, one seed"
    assert top.lines[0].numbers[0].error == ""


def test_numbers_of_seeds_that_differ_are_a_range() -> None:
    top = headline(made_table({"ERM": {"photo": [70, 71, 72], "sketch": [80]}}))
    assert top.lines[0].n == "1 to 3"


def test_a_strip_says_its_seeds_in_words() -> None:
    strip = headline(TABLE).lines[0].strip
    assert strip.text == "HAM, average: 78.0 % ± 1.0; seeds 77.0, 79.0"
    assert strip.low is not None
    assert strip.at is not None
    assert strip.high is not None
    assert strip.low < strip.at < strip.high
    assert len(strip.seeds) == 2


def test_the_lowest_is_best_where_low_is_good() -> None:
    metric = Metric("calibration_error", "calibration error", higher_is_better=False)
    top = headline(made_table({"ERM": {"photo": [7]}, "HAM": {"photo": [5]}}, metric=metric))
    assert [line.head.label for line in top.lines] == ["HAM", "ERM"]
    assert not top.descending


def test_what_is_no_share_is_drawn_beyond_its_best_mean() -> None:
    metric = Metric("train_seconds", "seconds of training", is_share=False, higher_is_better=None)
    seconds = {"ERM": {"art": [480_000, 520_000]}, "HAM": {"art": [700_000, 900_000]}}
    (strip, _) = (line.strip for line in headline(made_table(seconds, metric=metric)).lines)
    assert strip.text == "HAM, average: 8,000 ± 1,000; seeds 7000.0, 9000.0"
    assert len(strip.seeds) == 2
    assert strip.at is not None
    assert strip.high is not None
    assert strip.at < strip.high < 100.0


def test_a_table_without_any_number_has_no_axis() -> None:
    empty: Table = made_table({"ERM": {"photo": []}})
    top = headline(empty)
    assert top.axis is None
    assert top.lines[0].n == MISSING
