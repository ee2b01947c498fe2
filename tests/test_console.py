from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest

from hamdg import console
from hamdg.errors import OutputError


def test_steps_notes_and_skips(capsys: pytest.CaptureFixture[str]) -> None:
    console.heading("Train")
    console.note("3 sources [art_painting]")
    console.skipped("done before")
    assert capsys.readouterr().out == "==> Train\n    3 sources [art_painting]\n    skipped: done before\n"


def test_a_table_obeys_nothing_that_is_written_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a\x1b[2J", "n"), [("b\nc", "1")])
    assert capsys.readouterr().out.splitlines()[::2] == ["a\\x1b[2J  n", "b\\nc      1"]


def test_quiet_leaves_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with console.output(quiet=True), console.output(quiet=False):
        console.heading("Train")
        console.note("a")
        console.skipped("b")
        console.result("the result")
    assert capsys.readouterr().out == "the result\n"


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("x" * 500)
    console.heading("y" * 500)
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


@pytest.mark.parametrize("columns", [40, 200])
def test_a_table_on_a_terminal_fits_its_width_and_shows_every_cell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    console._console.cache_clear()
    console.table(
        ("name", "accuracy"), [("a name of many words that are all shown", "60.1"), ("[red]x\x1b", "7.0")], "Results"
    )
    console._console.cache_clear()
    printed = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in printed.splitlines()]
    assert lines[0] == "Results"
    assert max(map(len, lines)) <= columns
    assert "a name of many words that are all shown" in " ".join(line.removesuffix("60.1").strip() for line in lines)
    assert any(line.startswith("[red]x\\x1b") and line.endswith(" 7.0") for line in lines)


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

    with console.output(quiet=True), console.progress(3, "pictures") as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", "60.1 +- 2.0 - gr\\xf6\\xdfe \\U0001f600\n"),
        ("latin-1", "60.1 ± 2.0 - größe \\U0001f600\n"),
        ("utf-8", "60.1 ± 2.0 \N{EN DASH} größe \U0001f600\n"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_other_characters(
    monkeypatch: pytest.MonkeyPatch, encoding: str, printed: str
) -> None:
    content = io.BytesIO()
    with printing_to(monkeypatch, io.TextIOWrapper(content, encoding=encoding)):
        console.result("60.1 ± 2.0 \N{EN DASH} größe \U0001f600")
        assert content.getvalue().decode(encoding) == printed


def test_no_name_breaks_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("name", "n"), [("a\nb", "1"), ("\x1b[2J", "2")])
    assert capsys.readouterr().out == "name     n\n-------  -\na\\nb     1\n\\x1b[2J  2\n"


def test_what_a_terminal_would_obey_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("caf\udce9 \x1b[31mred\x07 \u202egnp.exe")
    console.result("a\nb\rc")
    console.complain("no `\x9b2J`")
    said = capsys.readouterr()
    assert said.out == "    caf\\udce9 \\x1b[31mred\\x07 \\u202egnp.exe\na\nb\\rc\n"
    assert said.err == "no `\\x9b2J`\n"


@contextmanager
def printing_to(monkeypatch: pytest.MonkeyPatch, out: TextIO) -> Iterator[None]:
    """Let `out` be stdout while the block runs."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        console.open_streams()
        yield
    console.open_streams()


def test_steps_go_on_where_the_output_is_full_and_results_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as out, printing_to(monkeypatch, out):
        console.heading("Train")
        console.step("1/4")
        with pytest.raises(OutputError) as caught:
            console.result("text")
        with pytest.raises(OutputError, match=r"no space left on device; the run is done\.$"):
            console.result("text", kept="the run is done")
        with pytest.raises(OutputError):
            console.flush()
    assert str(caught.value) == (
        "The output cannot be written: no space left on device; files that were written are complete."
    )


def test_a_reader_that_has_gone_is_an_error_only_where_something_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out, printing_to(monkeypatch, out):
        console.heading("Train")
        with pytest.raises(BrokenPipeError):
            console.result("text")
        with pytest.raises(OutputError, match=r"^The output cannot be written: broken pipe; the run is done\.$"):
            console.result("text", kept="the run is done")


def test_closed_streams_take_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    console.open_streams()
    console.result("text")
    console.complain("text")
    console.flush()
    sys.stdout.close()
    sys.stderr.close()


def test_json_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with console.output(as_json=True):
        console.heading("Train")
        console.step("1/4")
        print("a library")
        console.table(("a",), [("1",)])
        console.result("text")
        console.result_json({"accuracy": 1 / 3, "path": Path("a"), "missing": float("nan")})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"accuracy": 1 / 3, "path": "a", "missing": None}
    assert said.err == "==> Train\n  1/4\na library\n"


def test_quiet_json_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with console.output(as_json=True, quiet=True), console.output(as_json=True):
        console.note("a")
        console.result_json({})
    assert capsys.readouterr() == ("{}\n", "")


def test_without_json_the_text_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(ZeroDivisionError), console.output(as_json=True):
        raise ZeroDivisionError
    console.result("text")
    console.result_json({"a": 1})
    assert capsys.readouterr() == ("text\n", "")


def test_json_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as out, printing_to(monkeypatch, out), console.output(as_json=True):
        console.note("goes elsewhere")
        with pytest.raises(OutputError, match=r"no space left on device; the run is done\.$"):
            console.result_json({"a": 1}, kept="the run is done")
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "w") as out,
        printing_to(monkeypatch, out),
        console.output(as_json=True),
        pytest.raises(BrokenPipeError),
    ):
        console.result_json({"a": 1})
