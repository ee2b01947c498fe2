from __future__ import annotations

import random

from hamdg.report.many.labels import Box, place, text_width

FRAME = Box(0, 0, 600, 300)


def box_of(text: str, x: float, y: float, anchor: str) -> Box:
    left = {"start": x, "middle": x - text_width(text) / 2, "end": x - text_width(text)}[anchor]
    return Box(left, y - 10, left + text_width(text), y + 4)


def test_a_name_stands_to_the_right_of_its_point() -> None:
    (label,) = place([["ERM"]], [(100.0, 100.0)], FRAME)
    assert label is not None
    assert (label.anchor, label.lead) == ("start", None)
    assert label.x > 100.0


def test_a_name_at_the_edge_stands_to_the_left() -> None:
    (label,) = place([["ERM"]], [(590.0, 100.0)], FRAME)
    assert label is not None
    assert label.anchor == "end"


def test_a_long_name_gives_way_to_its_short_form() -> None:
    (label,) = place([["n" * 200, "short"]], [(100.0, 100.0)], FRAME)
    assert label is not None
    assert label.text == "short"


def test_a_name_without_room_is_left_out() -> None:
    assert place([["n" * 200]], [(100.0, 100.0)], FRAME) == [None]


def test_names_cover_no_name_and_no_point() -> None:
    draws = random.Random(0)
    points = [(draws.uniform(5, 595), draws.uniform(5, 295)) for _ in range(40)]
    labels = place([[f"method {number}"] for number in range(40)], points, FRAME)
    boxes = [box_of(one.text, one.x, one.y, one.anchor) for one in labels if one is not None]
    assert len(boxes) > 20
    assert all(box.within(FRAME) for box in boxes)
    assert not any(one.meets(other) for number, one in enumerate(boxes) for other in boxes[:number])
    dots = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for number, label in enumerate(labels):
        if label is not None:
            own = box_of(label.text, label.x, label.y, label.anchor)
            assert not any(own.meets(dot) for other, dot in enumerate(dots) if other != number)
