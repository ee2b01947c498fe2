from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from hamdg.errors import ConfigError
from hamdg.report.dials import Curve, Panel, dials_image, limits, panels
from hamdg.report.estimates import Difference
from hamdg.report.tables.model import Cell, Heading, Metric, Table, Trial

SVG = "{http://www.w3.org/2000/svg}"
TRIALS = [Trial("mini", held_out, seed) for held_out in ("photo", "sketch") for seed in (0, 1)]
ACCURACY = Metric("accuracy", "accuracy")
DIALS = {"label noise": {"0": ["clean"], "40 %": ["noisy"]}}


def table(condition: str, **rows: list[float]) -> Table:
    """Return a table of some rows' accuracies on the four trials, ERM the baseline."""
    heads = [Heading({}, name.replace("_", " "), is_baseline=name == "ERM") for name in rows]
    cells = [[Cell(mean=1.0, values=dict(zip(TRIALS, values, strict=False)))] for values in rows.values()]
    columns, metric = [Heading({}, "average", is_average=True)], ACCURACY
    return Table("", metric, (), (), heads, columns, cells, "", baseline="ERM", place={"condition": condition})


CLEAN = table("clean", ERM=[0.5, 0.6, 0.7, 0.8], SMA=[0.51, 0.63, 0.71, 0.83], merged=[0.4, 0.5, 0.6, 0.7])
NOISY = table("noisy", ERM=[0.3, 0.3, 0.4, 0.4], SMA=[0.4, 0.4, 0.5, 0.5])


def test_differences_are_paired_by_held_out_domain_and_seed_with_students_interval() -> None:
    (found,) = panels([CLEAN, NOISY], DIALS)
    assert (found.name, found.strengths) == ("label noise", ["0", "40 %"])
    assert [curve.label for curve in found.curves] == ["SMA", "merged"]
    first, second = found.curves[0].differences
    assert first is not None
    assert second is not None
    # 1, 3, 1 and 3 points: the mean is 2, the deviation 2 / sqrt(3), so the half-width is 3.18245 / sqrt(3).
    assert first.mean == pytest.approx(2.0)
    assert first.n == 4
    assert first.low == pytest.approx(2.0 - 3.182446 / 3**0.5, abs=1e-5)
    assert first.high == pytest.approx(2.0 + 3.182446 / 3**0.5, abs=1e-5)
    assert second.mean == pytest.approx(10.0)
    merged = found.curves[1].differences
    assert merged[0] is not None
    assert merged[0].mean == pytest.approx(-10.0)
    assert merged[1] is None


def test_conditions_of_one_strength_count_together() -> None:
    (found,) = panels([CLEAN, NOISY], {"any": {"all": ["clean", "noisy"]}}, ["SMA"])
    (one,) = found.curves[0].differences
    assert one is not None
    assert one.mean == pytest.approx(6.0)
    assert one.n == 8


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ConfigError, match=r"`figure\.methods` names `SNA`, which no row is called; did you mean `SMA`"):
        panels([CLEAN], DIALS, ["SNA"])
    without = replace(CLEAN, rows=[replace(head, is_baseline=False) for head in CLEAN.rows])
    with pytest.raises(ConfigError, match="differences to the `baseline` of the sweep, but no table has it as a row"):
        panels([without], DIALS)
    many = table("clean", ERM=[0.5], **{f"m{n}": [0.5] for n in range(7)})
    with pytest.raises(ConfigError, match=r"can show 6 methods, but there are 7; name some under `figure\.methods`"):
        panels([many], DIALS)
    with pytest.raises(ConfigError, match="No method has a result under the conditions of the figure's dials"):
        limits(panels([CLEAN], {"other": {"1": ["nowhere"]}}))


def drawn(*means: float) -> Panel:
    curves = [Curve(f"m{place}", [Difference(mean, mean - 1.0, mean + 1.0, 6)]) for place, mean in enumerate(means)]
    return Panel("dial", ["0"], curves)


def test_the_axis_holds_zero_and_all_intervals() -> None:
    # From -1 to 5: a twentieth of 6 beyond either end.
    assert limits([drawn(0.0, 2.0, 4.0)]) == pytest.approx((-1.3, 5.3))
    assert limits([drawn(4.0, 6.0)])[0] < 0.0
    assert limits([drawn(0.0, -20.0, -20.0)], -10.0) == pytest.approx((-10.0, 1.1))
    # Nothing but numbers on the edge.
    assert limits([drawn(-20.0, -30.0)], -10.0) == pytest.approx((-10.0, 1.0))


def test_what_lies_far_down_is_a_number_on_the_edge_without_an_interval() -> None:
    panel = drawn(1.0, 2.0, 0.0, 3.0, -30.0)
    low, high = limits([panel])
    assert -5.0 < low < 0.0
    assert high > 4.0
    root = ElementTree.fromstring(dials_image([panel], "ERM", "When", ACCURACY))
    assert [e.text for e in root.iter(f"{SVG}text") if "far" in (e.get("class") or "")] == ["\N{MINUS SIGN}30"]
    assert len([e for e in root.iter(f"{SVG}line") if "whisker" in (e.get("class") or "")]) == 4
    assert "Numbers: further down." in ElementTree.tostring(root, encoding="unicode")


def test_values_stand_where_they_belong_and_say_what_they_are() -> None:
    image = dials_image(panels([CLEAN, NOISY], DIALS, ["SMA"]), "ERM", "When does it help?", ACCURACY)
    root = ElementTree.fromstring(image)
    titles = [e.text for e in root.iter(f"{SVG}title")]
    assert titles[0] is not None
    assert titles[0].startswith("SMA, label noise 0: 2, 95 % interval 0.1626 to 3.837, 4 pairs")
    (line,) = root.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in (line.get("points") or "").split())
    texts = {e.text: float(e.get("y") or 0) - 4 for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"}
    assert x0 < x1
    assert y1 == pytest.approx(texts["10"], abs=0.11)
    assert y0 == pytest.approx(texts["0"] + 0.2 * (texts["10"] - texts["0"]), abs=0.11)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (ACCURACY, "Accuracy minus that of ERM on unseen domains, in points;"),
        (Metric("mIoU", "mIoU"), "mIoU minus that of ERM on unseen domains, in points;"),
        (Metric("x", "steps", is_share=False), "Steps minus that of ERM on unseen domains;"),
    ],
)
def test_the_image_names_its_metric(metric: Metric, said: str) -> None:
    image = dials_image([drawn(1.0)], "ERM", "T", metric)
    assert any((e.text or "").startswith(said) for e in ElementTree.fromstring(image).iter(f"{SVG}text"))


def test_the_image_stands_alone_in_light_and_dark_and_escapes_names() -> None:
    panel = Panel("a < b", ["<0>"], [Curve("x & y", [Difference(1.0, None, None, 1)])])
    image = dials_image([panel], "ERM", "T", ACCURACY)
    assert "prefers-color-scheme: dark" in image
    assert not re.search(r"var\(|https?://(?!www\.w3\.org/2000/svg)", image)
    assert {"a < b", "<0>", "x & y"} <= {e.text for e in ElementTree.fromstring(image).iter(f"{SVG}text")}
