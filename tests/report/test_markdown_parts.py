from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.report.markdown import check_page, write_part

PAGE = (
    "# Results\r\n\nBy hand.\n\n"
    "<!-- begin: a.yaml -->\n\nold a\n\n<!-- end: a.yaml -->\n\n\n"
    "<!-- begin: b.yaml -->\nold b <!-- a remark -->\n<!-- end: b.yaml -->\nafter\n"
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "results.md"
    path.write_bytes(PAGE.encode())
    return path


def test_a_part_takes_the_place_of_its_old_self_and_nothing_else_changes(page: Path) -> None:
    assert write_part(page, "b.yaml", "\nnew b: é\n\n") == page
    assert page.read_bytes().decode() == PAGE.replace("\nold b <!-- a remark -->\n", "\n\nnew b: é\n\n")


def test_writing_a_part_again_changes_nothing(page: Path) -> None:
    write_part(page, "a.yaml", "new a")
    once = page.read_bytes()
    write_part(page, "a.yaml", "new a")
    assert page.read_bytes() == once


def test_a_name_that_would_break_its_marker_is_written_out(page: Path) -> None:
    for _ in range(2):
        write_part(page, "a --> b\n.yaml", "new c")
    assert page.read_text().count("<!-- begin: a --%3E b%0A.yaml -->\n\nnew c\n") == 1


def test_a_part_with_markers_of_its_own_is_refused(page: Path) -> None:
    message = "The part of `a.yaml` holds `<!-- end: b.yaml -->`, which tells parts apart; take it out of its `intro`."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        write_part(page, "a.yaml", "text\n<!-- end: b.yaml -->")
    assert page.read_bytes() == PAGE.encode()


def test_parts_written_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: write_part(page, f"{name}.yaml", str(name)), range(40)))
    assert all(f"<!-- begin: {name}.yaml -->\n\n{name}\n" in page.read_text() for name in range(40))
    assert [path.name for path in page.parent.iterdir()] == ["results.md"]


def test_a_page_that_is_no_text_is_left_alone(page: Path) -> None:
    page.write_bytes(b"\xff")
    for write in (lambda: write_part(page, "a.yaml", ""), lambda: check_page(page)):
        with pytest.raises(DataError, match=r"is not a text in UTF-8; move it away, or name another one\.$"):
            write()


def test_a_new_part_comes_last(page: Path) -> None:
    write_part(page, "c.yaml", "new c")
    assert page.read_bytes().decode() == PAGE + "\n<!-- begin: c.yaml -->\n\nnew c\n\n<!-- end: c.yaml -->\n"


def test_a_missing_page_is_made(tmp_path: Path) -> None:
    page = write_part(tmp_path / "docs" / "results.md", "a.yaml", "## A")
    assert page.read_text() == "# Results\n\n<!-- begin: a.yaml -->\n\n## A\n\n<!-- end: a.yaml -->\n"


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("<!-- end: a.yaml -->", "", "<!-- begin: b.yaml -->"),
        ("<!-- end: b.yaml -->", "", "<!-- begin: b.yaml -->"),
        ("<!-- begin: a.yaml -->", "", "<!-- end: a.yaml -->"),
        ("<!-- begin: b.yaml -->", "<!-- begin: a.yaml -->", "<!-- begin: a.yaml -->"),
        ("<!-- end: a.yaml -->", "<!-- end: b.yaml -->", "<!-- end: b.yaml -->"),
    ],
)
def test_damaged_markers_are_an_error_and_the_page_stays(page: Path, old: str, new: str, at: str) -> None:
    damaged = PAGE.replace(old, new).encode()
    page.write_bytes(damaged)
    expected = (
        f"The parts of `{page}` are not clear at its marker `{at}`: every part needs one `begin` and, before the next "
        "part, one `end`. Mend or remove the markers, then repeat the command; finished runs are skipped."
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        write_part(page, "c.yaml", "new")
    assert page.read_bytes() == damaged
