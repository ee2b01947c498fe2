from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from hamdg.report.many.group import group
from hamdg.report.many.words import against_baseline, answer, gaps
from hamdg.report.tables.model import Metric
from tests.report.many.hand_made import Values, made_table


def methods(count: int) -> dict[str, Values]:
    return {f"M{number}": {"photo": [80.0 - number, 81.0 - number]} for number in range(count)}


def said_by(methods: Mapping[str, Values], tied: Sequence[str] = ()) -> str:
    """Return the answer of a table, whose spaces within numbers are plain ones."""
    return answer(made_table(methods, tied=tied)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_best_and_what_is_tied_with_it_are_named() -> None:
    assert said_by(methods(3), ["M1"]) == ("M0 is best on average: 80.5 ± 0.5 %. M1 is not distinguishable from it.")


def test_many_names_are_counted() -> None:
    said = said_by(methods(9), [f"M{number}" for number in range(1, 9)])
    assert said.endswith("M1, M2, M3, M4 and 4 others are not distinguishable from it.")


def test_a_clear_best_is_said_to_be_one() -> None:
    assert answer(made_table(methods(2))).endswith("The other is distinguishably worse.")
    assert answer(made_table(methods(3))).endswith("Both others are distinguishably worse.")
    assert answer(made_table(methods(5))).endswith("All 4 others are distinguishably worse.")


def test_one_method_is_not_called_the_best() -> None:
    assert said_by(methods(1)) == "M0 reaches 80.5 ± 0.5 % on average, over 2 seeds."
    assert said_by({"ERM": {"photo": [70]}}) == "ERM reaches 70.0 % on average, over one seed."


def test_one_seed_is_said_to_tell_nothing() -> None:
    assert said_by({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}}) == (
        "HAM is best on average: 75.0 %. The numbers are too few to tell whether the others are worse. "
        "With one seed, the spread between trainings is not known."
    )


def test_a_best_of_fewer_seeds_is_said_to_be_one() -> None:
    said = said_by({"ERM": {"photo": [70, 71]}, "HAM": {"photo": [75]}})
    assert said.startswith("HAM is best on average: 75.0 % (one seed).")


@pytest.mark.parametrize(
    ("count", "said"),
    [(3, "from 78.5 ± 0.5 (M2) to 80.5 ± 0.5 (M0)"), (1, "80.5 ± 0.5 (M0)")],
)
def test_of_a_time_no_method_is_the_best(count: int, said: str) -> None:
    seconds = Metric("train_seconds", "seconds of training", is_share=False, higher_is_better=None)
    table = made_table(
        {
            name: {domain: [100 * value for value in own] for domain, own in values.items()}
            for name, values in methods(count).items()
        },
        metric=seconds,
        baseline="M0",
    )
    table = replace(table, cells=[[replace(cell, is_best=False) for cell in row] for row in table.cells])
    assert answer(table).replace("\N{NO-BREAK SPACE}", " ") == f"Seconds of training on average: {said}."
    assert group(table, 1).against == "How much each method is above or below M0 on average, in seconds of training."
    assert group(made_table(methods(2), "M0"), 1).against.endswith("on average, in points.")


def test_no_result_is_said() -> None:
    assert answer(made_table({"ERM": {"photo": []}})) == "No method has a result on average yet."


def test_readings_against_the_baseline_are_counted() -> None:
    table = made_table(
        {
            "ERM": {"photo": [70, 71, 72]},
            "HAM": {"photo": [74, 75, 76.5]},
            "MMD": {"photo": [69, 72, 71]},
            "a": {"photo": [60, 61, 62]},
            "b": {"photo": [60, 61, 62.5]},
            "c": {"photo": [60, 61, 62.4]},
        },
        baseline="ERM",
    )
    assert against_baseline(table) == "Against ERM, HAM is better, 3 methods are worse and MMD is not distinguishable."
    assert against_baseline(made_table(methods(2))) == ""


def test_a_baseline_without_an_average_is_named() -> None:
    table = made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75], "sketch": [80]}}, baseline="ERM")
    assert against_baseline(table) == "ERM has no result on average to compare with."


def test_single_pairs_are_not_read() -> None:
    assert against_baseline(made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}}, baseline="ERM")) == ""


def test_gaps_are_counted() -> None:
    table = made_table({"ERM": {"photo": [70], "sketch": [80]}, "HAM": {"photo": [75]}})
    assert gaps(table) == "1 of 4 numbers is missing."
    assert gaps(made_table(methods(2))) == ""
