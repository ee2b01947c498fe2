from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from hamdg import console


@pytest.fixture(autouse=True)
def _loud() -> Iterator[None]:
    console.set_quiet(False)
    yield
    console.set_quiet(False)


def test_stages_notes_and_skips(capsys: pytest.CaptureFixture[str]) -> None:
    console.stage("Train")
    console.note("3 sources [art_painting]")
    console.skipped("done before")
    assert capsys.readouterr().out == "==> Train\n    3 sources [art_painting]\n    skipped: done before\n"


def test_a_table_obeys_nothing_that_is_written_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a\x1b[2J", "n"), [("b\nc", "1")])
    assert capsys.readouterr().out.splitlines()[::2] == ["a\\x1b[2J  n", "b\\nc      1"]


def test_quiet_leaves_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_quiet(True)
    console.stage("Train")
    console.note("a")
    console.skipped("b")
    console.result("the result")
    assert capsys.readouterr().out == "the result\n"


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("x" * 500)
    console.stage("y" * 500)
    assert capsys.readouterr().out == f"{'x' * 500}\n==> {'y' * 500}\n"


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("name", "accuracy"), [("zero-shot", "60.1 ± 2.0"), ("HAM [ours]", "7.0")], title="Results")
    assert capsys.readouterr().out.splitlines() == [
        "Results",
        "name          accuracy",
        "----------  ----------",
        "zero-shot   60.1 ± 2.0",
        "HAM [ours]         7.0",
    ]


def test_a_missing_number_leaves_the_others_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    dash = "\N{EN DASH}"
    console.table(("a", "b"), [(dash, dash), ("-10.5", dash)])
    assert capsys.readouterr().out.splitlines() == ["    a  b", "-----  -", f"    {dash}  {dash}", f"-10.5  {dash}"]


def test_an_empty_table_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n-  -\n"


def test_progress_shows_a_bar_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with console.progress(3, "pictures") as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress(3, "pictures") as advance:
        advance(2)
    shown = capsys.readouterr()
    assert "2/3" in shown.err
    assert shown.out == ""

    console.set_quiet(True)
    with console.progress(3, "pictures") as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
