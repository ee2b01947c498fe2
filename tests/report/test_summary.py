from __future__ import annotations

from hamdg.report.summary import header
from hamdg.runs.record import Record


def test_nothing_is_claimed_of_what_was_read_where_no_stage_noted_it(ham: Record) -> None:
    train, merge = ham["steps"]["train"], ham["steps"]["merge"]
    assert train["opened"] is None
    assert "Tested on 700 images of sketch.</p>" in header(ham)
    merge["opened"] = ["photo"]
    assert "Tested on 700 images of sketch.</p>" in header(ham)
    train["opened"] = ["photo"]
    assert "Tested on 700 images of sketch, none of which was read before the evaluation.</p>" in header(ham)
    train["opened"] = ["photo", "sketch"]
    assert "The train step read images of sketch before: this is not domain generalization.</p>" in header(ham)
    train["opened"] = merge["opened"] = None
    merge["reads"] = ["sources", "targets"]
    assert "The merge step read images of sketch before, without their labels" in header(ham)


def test_the_page_says_which_copy_of_a_benchmark_was_used(ham: Record) -> None:
    assert "Images" not in header(ham)
    ham["data"] = {"title": "PACS", "version": "as in the papers", "pictures": 9991}
    assert "<dt>Images</dt><dd>9,991, by their numbers PACS, as in the papers</dd>" in header(ham)
    ham["data"] = {"title": "PACS", "version": None, "pictures": 9000}
    assert "<dt>Images</dt><dd>9,000, no known copy of the benchmark</dd>" in header(ham)
    ham["data"]["truncated"] = "read"
    ham["config"] = {"data": {"subset": 40}}
    page = header(ham)
    assert "no known copy of the benchmark; truncated files are read as far as they go</dd>" in page
    assert "<dt>Images used</dt><dd>every domain cut to at most 40 per class</dd>" in page
