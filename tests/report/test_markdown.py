from __future__ import annotations

import pytest

from hamdg.report.markdown import fenced, plain, table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b>`*a*", r"&lt;b&gt;\`\*a\*"),
        ("[x](javascript:y)\n\x1b[2J\\", r"\[x\](javascript:y) \\x1b\[2J\\"),
        ("R&D", "R&amp;D"),
        ("_best_ of accuracy_in80", r"\_best\_ of accuracy_in80"),
    ],
)
def test_texts_show_as_they_are_on_one_line(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert fenced("a ``` b\x07") == "````\na ``` b\\x07\n````"


def test_cells_of_a_table_stay_in_their_columns() -> None:
    assert table(["row", "a|b"], [["x|y", "1"]]) == "| row | a\\|b |\n| --- | ---: |\n| x\\|y | 1 |"
