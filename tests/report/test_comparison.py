from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from hamdg.merge.compare import Comparison
from hamdg.report.comparison import comparison_image

SVG = "{http://www.w3.org/2000/svg}"


def comparison(*sources: str, layers: int = 3, cosine: float | None = 0.25) -> Comparison:
    names = tuple(f"blocks.{index}" for index in range(layers))
    pairs = ["|".join(pair) for pair in itertools.combinations(sorted(sources), 2)]
    every = ("", *names)
    return Comparison(
        tuple(sorted(sources)),
        names,
        dict.fromkeys(every, 10),
        dict.fromkeys(every, 1.0),
        {source: dict.fromkeys(every, 0.5) for source in sources},
        {pair: dict.fromkeys(every, cosine) for pair in pairs},
        {pair: dict.fromkeys(every, None if cosine is None else 0.75) for pair in pairs},
    )


def texts(image: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(image).iter(f"{SVG}text")]


def test_every_pair_has_a_cell_in_both_tables() -> None:
    found = texts(comparison_image(comparison("a", "b", "c")))
    assert found.count("0.25") == 6
    assert found.count("0.75") == 6
    assert found.count("1.00") == 6


def test_values_below_chance_have_the_other_color() -> None:
    image = comparison_image(comparison("a", "b", cosine=-0.5))
    root = ElementTree.fromstring(image)
    tints = [(e.get("class"), e.get("opacity")) for e in root.iter(f"{SVG}rect") if e.get("opacity")]
    # Full tint is 0.76: the cosine -0.5 is half of it, a share of 0.75 is half-way from chance to one.
    assert tints.count(("cold", "0.380")) == 2
    assert tints.count(("heat", "0.380")) == 2
    assert "\N{MINUS SIGN}0.50" in texts(image)


def test_a_pair_is_one_line_and_many_pairs_are_mean_and_range() -> None:
    few = texts(comparison_image(comparison("a", "b", "c")))
    assert {"a / b", "a / c", "b / c"} <= set(few)
    many = texts(comparison_image(comparison(*"abcdefghij")))
    assert "mean of 45" in many
    assert "mean of 10" in many
    assert many.count("lowest") == 2
    assert "a / b" not in many


def test_it_names_the_first_and_the_last_layer() -> None:
    said = texts(comparison_image(comparison("a", "b")))[-1]
    assert said == "Layers in the order of the network: 1 is blocks.0, 3 is blocks.2."


@pytest.mark.parametrize("layers", [1, 40])
def test_values_that_are_missing_are_dashes(layers: int) -> None:
    image = comparison_image(comparison("a", "b", layers=layers, cosine=None))
    assert texts(image).count("\N{EN DASH}") == 4
    assert str(math.nan) not in image


def test_names_are_escaped_and_shortened() -> None:
    long = "a<b>&" + "x" * 40
    image = comparison_image(comparison(long, "z"))
    assert "a<b>&xxxxxxxxxxxx\N{HORIZONTAL ELLIPSIS}" in texts(image)
    titles = [element.text for element in ElementTree.fromstring(image).iter(f"{SVG}title")]
    assert any(title == long for title in titles)


def test_it_needs_nothing_but_itself() -> None:
    image = comparison_image(comparison("a", "b"))
    assert "var(" not in image
    assert "prefers-color-scheme: dark" in image
    assert "href" not in image


def test_all_texts_have_one_font() -> None:
    # What says `inherit` has to have something to inherit from.
    image = comparison_image(comparison("a", "b"))
    assert re.findall(r"([^\n}]*){[^}]*font-family: (\S+)", image)[0] == ("svg ", "system-ui,")
    assert set(re.findall(r"font-family: (\w+)", image)) == {"system", "inherit"}


def test_it_stays_inside_its_frame() -> None:
    image = comparison_image(comparison(*(f"a-rather-long-name-{index}" for index in range(14))))
    root = ElementTree.fromstring(image)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = [e for e in root.iter(f"{SVG}rect") if e.get("x")]
    assert boxes
    for box in boxes:
        x, y, w, h = (float(box.get(key, "nan")) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        assert w > 0
