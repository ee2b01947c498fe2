from __future__ import annotations

from hamdg.report.contract import Record
from hamdg.report.outcome import header


def test_the_page_says_which_copy_of_a_benchmark_was_used(ham: Record) -> None:
    assert "Pictures" not in header(ham)
    ham["data"] = {"title": "PACS", "version": "as in the papers", "pictures": 9991}
    assert "<dt>Pictures</dt><dd>9,991, by their numbers PACS, as in the papers</dd>" in header(ham)
    ham["data"] = {"title": "PACS", "version": None, "pictures": 9000}
    assert "<dt>Pictures</dt><dd>9,000, no known copy of the benchmark</dd>" in header(ham)
