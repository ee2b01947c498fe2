from __future__ import annotations

import pytest

from hamdg.report.before_after import before_after
from hamdg.report.by_class import by_class
from hamdg.report.figures import Chart
from hamdg.runs.lines import PairLine
from hamdg.runs.record import Record
from tests.report.made import by_source, lines, many_classes


def test_every_source_model_has_its_accuracy_on_every_domain(ham: Record) -> None:
    found = before_after(by_source(ham), None)
    assert found is not None
    assert found.table is not None
    assert found.lines is None
    assert list(found.table.columns) == ["art_painting", "cartoon", "photo", "sketch (held out)"]
    texts = {name: [cell.text for cell in cells] for name, cells in found.table.rows.items()}
    assert list(texts) == ["zero-shot", *(f"source model: {name}" for name in ham["sources"]), "HAM (reconstruction)"]
    assert texts["source model: cartoon"] == ["70.3", "80.3", "90.3", "70.3"]
    framed = [name for name, cells in found.table.rows.items() for cell in cells if "framed" in cell.kind]
    assert framed == [f"source model: {name}" for name in ham["sources"]]
    assert found.lead == (
        "On their own domains, the result differs from the source models by +14.7 (art_painting), +1.0 (cartoon) and "
        "+20.2 (photo) points. On sketch, it differs from the best of them, cartoon, by +1.0 points."
    )


def test_models_that_are_of_no_domain_are_compared_on_the_held_out_one_alone(ham: Record) -> None:
    record = by_source(ham)
    for row in record["rows"]:
        row["key"] = f"{row['key']}-1" if row["key"].startswith("source/") else row["key"]
    found = before_after(record, None)
    assert found is not None
    assert found.lead == (
        "On sketch, the result differs from the best of the models that were merged, cartoon-1, by +1.0 points."
    )
    assert found.frames == ""
    assert before_after(by_source(ham), None).frames == "Framed: a model on its own domain."  # type: ignore[union-attr]


def test_lines_are_one_chart_a_domain_on_one_axis(ham: Record) -> None:
    found = before_after(ham, lines(ham))
    assert found is not None
    assert found.table is None
    assert found.lines is not None
    charts = found.lines.items
    assert [chart.title for chart in charts] == ["sketch, held out", "art_painting", "cartoon", "photo"]  # type: ignore[attr-defined]
    assert len({tuple(tick.text for tick in chart.drawn.value_ticks) for chart in charts}) == 1  # type: ignore[attr-defined]
    assert list(found.lines.names) == ["art_painting", "cartoon", "photo", "zero-shot"]
    assert "on 140 images of a domain" in found.note
    assert "every 25 % of the way" in found.note


def test_lines_between_models_are_charts_of_their_own(ham: Record) -> None:
    facts = lines(ham)
    assert before_after(ham, facts).pairs is None  # type: ignore[union-attr]
    first, last = "source/cartoon", "source/photo"
    values: dict[str, list[float | None]] = {"sketch": [0.5, None, 0.1, 0.2, 0.6]}
    found = before_after(ham, {**facts, "pairs": [PairLine(first=first, last=last, values=values)]})
    assert found is not None
    assert found.pairs is not None
    (chart,) = found.pairs.items
    assert isinstance(chart, Chart)
    assert (chart.title, list(found.pairs.names)) == ("sketch, held out", ["cartoon to photo"])
    # One line has no legend that would name its ends.
    assert [tick.text for tick in chart.drawn.step_ticks] == ["cartoon", "photo"]
    assert 'class="line dashed' not in str(chart.drawn)
    other = PairLine(first=first, last=f"{last}, another start", values=values)
    found = before_after(ham, {**facts, "pairs": [other]})
    assert found is not None
    assert found.pairs is not None
    assert list(found.pairs.names) == ["cartoon to photo, another start"]
    (chart,) = found.pairs.items
    assert isinstance(chart, Chart)
    assert {stroke.line.kind for stroke in chart.drawn.strokes} == {"dashed"}


def test_a_run_without_source_models_has_no_such_section(erm: Record) -> None:
    assert before_after(erm, None) is None


@pytest.mark.parametrize(("count", "tables"), [(30, 0), (345, 2)])
def test_of_many_classes_the_page_shows_those_that_a_reader_looks_for(ham: Record, count: int, tables: int) -> None:
    record = many_classes(ham, count)
    own = record["rows"][-1]["targets"]["sketch"]["per_class_accuracy"]
    assert isinstance(own, list)
    own[7], own[9], own[11] = 0.01, 0.99, None
    (found,) = by_class(record)
    assert len(found.every.columns) == count
    assert len(found.tables) == tables
    if tables:
        hardest, gaps = found.tables
        assert hardest["rows"][0] == ["class 007", "1.0", "73.7", "60.1"]
        assert hardest["columns"] == ["class", "HAM (reconstruction)", "ERM + SMA (pooled)", "zero-shot"]
        assert gaps["rows"][0][-1] == "+25.3"
        assert gaps["rows"][-1][0] == "class 007"
        assert not any("class 011" in row for one in found.tables for row in one["rows"])
