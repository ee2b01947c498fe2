from __future__ import annotations

from hamdg.report.summary import header
from hamdg.runs.record import Record


def test_nothing_is_claimed_of_what_was_read_where_no_stage_noted_it(ham: Record) -> None:
    assert "opened" not in ham
    assert "Tested on 700 images of sketch.</p>" in header(ham)
    opened = {"train": ["photo"], "merge": ["photo"], "evaluate": ["photo", "sketch"]}
    ham["opened"] = {"merge": ["photo"]}
    assert "Tested on 700 images of sketch.</p>" in header(ham)
    ham["opened"] = opened
    assert "Tested on 700 images of sketch, none of which was read before the evaluation.</p>" in header(ham)
    ham["opened"] = {**opened, "train": ["photo", "sketch"]}
    assert "The train stage read images of sketch before: this is no domain generalization.</p>" in header(ham)
    assert ham["merge"] is not None
    ham["merge"]["target_data"] = True
    del ham["opened"]
    assert "The merge read images of sketch before, without their labels" in header(ham)


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
