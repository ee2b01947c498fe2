from __future__ import annotations

import pytest

from hamdg.report.estimates import Difference
from hamdg.report.many.differences import UNKNOWN, differences, reading
from hamdg.report.many.words import answer
from hamdg.report.table import MINUS
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Metric
from hamdg.report.tables.options import TableOptions
from tests.report.many.hand_made import ACCURACY, made_table
from tests.report.tables.conftest import make

HIGHER, LOWER = Difference(0.02, 0.01, 0.03, 3), Difference(-0.02, -0.03, -0.01, 3)


def test_differences_are_drawn_from_the_best_to_the_worst() -> None:
    table = made_table(
        {"ERM": {"photo": [70, 71, 72]}, "HAM": {"photo": [74, 75, 76.5]}, "MMD": {"photo": [69, 72, 71]}},
        baseline="ERM",
    )
    found = differences(table)
    assert found is not None
    assert [(line.label, line.text, line.n, line.reading) for line in found.lines] == [
        ("HAM", "+4.2", 3, "better"),
        ("MMD", f"{MINUS}0.3", 3, "not distinguishable"),
    ]
    assert found.lines[0].interval == "+3.4 to +4.9"
    assert len(found.lines[0].strip.seeds) == 3
    assert found.lines[0].strip.text == "HAM: +4.2, 95 % interval +3.4 to +4.9"


def test_each_row_is_drawn_against_the_baseline_of_its_own_condition() -> None:
    values = {("erm", "clean"): 0.7, ("ham", "clean"): 0.8, ("erm", "noisy"): 0.2, ("ham", "noisy"): 0.3}
    runs = [
        make(method, "art", seed, value + seed / 50 + (method == "ham") * seed / 100, condition=condition)
        for (method, condition), value in values.items()
        for seed in (0, 1, 2)
    ]
    (table,) = tabulate(runs, TableOptions(rows=("condition", "algorithm"), baseline="ERM"))
    found = differences(table)
    assert found is not None
    assert [line.label for line in found.lines] == ["HAM (reconstruction), clean", "HAM (reconstruction), noisy"]
    for line in found.lines:
        assert line.text == "+11.0"
        assert line.strip.seeds == pytest.approx([found.axis.at(gain) for gain in (10.0, 11.0, 12.0)])
    said = answer(table).replace("\N{NO-BREAK SPACE}", " ")
    assert said == (
        "clean: HAM (reconstruction), clean is best on art: 83.0 ± 1.7 %. The other is distinguishably worse. "
        "noisy: HAM (reconstruction), noisy is best on art: 33.0 ± 1.7 %. The other is distinguishably worse."
    )


def test_there_are_none_without_a_baseline() -> None:
    assert differences(made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}})) is None


def test_a_single_pair_has_no_interval() -> None:
    found = differences(made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}}, baseline="ERM"))
    assert found is not None
    (line,) = found.lines
    assert (line.interval, line.reading, line.strip.low, line.strip.seeds) == ("", UNKNOWN, None, [])


@pytest.mark.parametrize(
    ("difference", "higher_is_better", "word"),
    [
        (HIGHER, True, "better"),
        (LOWER, True, "worse"),
        (HIGHER, False, "worse"),
        (LOWER, False, "better"),
        (HIGHER, None, "higher"),
        (LOWER, None, "lower"),
        (Difference(0.01, -0.01, 0.03, 3), True, "not distinguishable"),
        (Difference(0.01, None, None, 1), True, UNKNOWN),
    ],
)
def test_a_difference_is_read_by_its_interval(difference: Difference, higher_is_better: bool | None, word: str) -> None:
    assert reading(difference, Metric("x", "x", higher_is_better=higher_is_better)) == word
    assert ACCURACY.higher_is_better
