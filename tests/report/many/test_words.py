from __future__ import annotations

from hamdg.report.many.words import against_baseline, answer, gaps
from tests.report.many.hand_made import made_table


def methods(count: int) -> dict[str, dict[str, list[float]]]:
    return {f"M{number}": {"photo": [80.0 - number, 81.0 - number]} for number in range(count)}


def test_the_best_and_what_is_tied_with_it_are_named() -> None:
    assert answer(made_table(methods(3), tied=["M1"])) == (
        "M0 is best on average: 80.5 ± 0.5 %. M1 is not distinguishable from it."
    )


def test_many_names_are_counted() -> None:
    said = answer(made_table(methods(9), tied=[f"M{number}" for number in range(1, 9)]))
    assert said.endswith("M1, M2, M3, M4 and 4 others are not distinguishable from it.")


def test_a_clear_best_is_said_to_be_one() -> None:
    assert answer(made_table(methods(2))).endswith("The other is distinguishably worse.")
    assert answer(made_table(methods(3))).endswith("Both others are distinguishably worse.")
    assert answer(made_table(methods(5))).endswith("All 4 others are distinguishably worse.")


def test_one_method_is_not_called_the_best() -> None:
    assert answer(made_table(methods(1))) == "M0 reaches 80.5 ± 0.5 % on average, over 2 seeds."
    assert answer(made_table({"ERM": {"photo": [70]}})) == "ERM reaches 70.0 % on average, over one seed."


def test_one_seed_is_said_to_tell_nothing() -> None:
    said = answer(made_table({"ERM": {"photo": [70]}, "HAM": {"photo": [75]}}))
    assert said == "HAM is best on average: 75.0 %. There is one seed: a difference may be chance."


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


def test_gaps_are_counted() -> None:
    table = made_table({"ERM": {"photo": [70], "sketch": [80]}, "HAM": {"photo": [75]}})
    assert gaps(table) == "1 of 4 numbers is missing; the notes below the table say why."
    assert gaps(made_table(methods(2))) == ""
