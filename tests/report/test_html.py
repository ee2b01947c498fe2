from __future__ import annotations

import re

from hamdg.report.html import HeatTable, bar, bar_list, colors, heat_table, pair_name, section
from hamdg.report.markup import NOTHING, tag


def test_a_section_without_content_is_left_out() -> None:
    assert section("a", "A", "lead", NOTHING, NOTHING) == ""
    assert '<section id="a"><h2>A</h2>' in section("a", "A", "lead", NOTHING, tag("p", "x"))


def test_heat_cells_are_tinted_by_value() -> None:
    html = heat_table(HeatTable("t", ["x", "y", "z"], {"row": [0.25, -0.5, None]}, highest=0.5))
    assert '<td style="--v:0.500">0.25</td>' in html
    assert '<td class="minus" style="--v:1.000">\N{MINUS SIGN}0.50</td>' in html
    assert '<td class="void">\N{EN DASH}</td>' in html


def test_a_tiny_negative_value_is_not_minus_zero() -> None:
    assert ">0.00</td>" in heat_table(HeatTable("t", ["x"], {"row": [-0.0001]}))


def test_bar_is_clipped_to_its_track() -> None:
    html = bar(0.98, error=0.05, mark=0.6)
    assert '<i style="width:98.00%"></i>' in html
    assert '<em style="left:93.00%;width:7.00%"></em>' in html
    assert '<u style="left:60.00%"></u>' in html


def test_bars_are_scaled_to_the_largest() -> None:
    html = bar_list({"a": 1.0, "b": 4.0})
    assert re.findall(r"width:([\d.]+)%", html) == ["25.00", "100.00"]


def test_bars_of_nothing_and_of_zero() -> None:
    assert bar_list({}) == ""
    assert "width:0.00%" in bar_list({"a": 0.0})


def test_palette_repeats_when_it_is_used_up() -> None:
    assert colors([str(index) for index in range(9)])["8"] == 0


def test_pair_name() -> None:
    assert pair_name("a|b") == "a / b"
