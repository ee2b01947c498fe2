"""Pages and tables of new runs, of any algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from hamdg.algorithms.base import Entry
from hamdg.algorithms.experts import Experts
from hamdg.report.page import write_report
from hamdg.report.table import format_text
from hamdg.runs.record import read_before, read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


def test_a_run_without_a_zero_shot_row_is_evaluated_and_shown(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = Experts.entries

    def without_start(self: Experts, context: Context) -> Sequence[Entry]:
        return [one for one in entries(self, context) if one.key != "zero_shot"]

    monkeypatch.setattr(Experts, "entries", without_start)
    path = pipeline.run(tiny("--algorithm=experts"))
    record = read_record(path)
    assert record["zero_shot_accuracy"] is None
    assert "gain: points over" not in format_text(record)
    page = write_report(path.parent).read_text()
    assert "The dashed line is" not in page
    assert "zero-shot" not in page


@pytest.mark.parametrize("algorithm", ["ham", "coral"])
def test_the_page_of_a_run_draws_every_step_and_says_what_it_read(tiny: Tiny, algorithm: str) -> None:
    path = pipeline.run(tiny(f"--algorithm={algorithm}"))
    record = read_record(path)
    assert read_before(record) == {}
    page = write_report(path.parent).read_text()
    assert "none of which was read before the evaluation" in page
    assert '<section id="train">' in page
    assert "<figcaption>Loss</figcaption>" in page
    assert ("Enrichment: samples offered and accepted" in page) is (algorithm == "ham")
    assert ("<figcaption>Penalty</figcaption>" in page) is (algorithm == "coral")
