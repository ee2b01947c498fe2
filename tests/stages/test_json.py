"""`--json` of the verbs that make runs: one document with the numbers of the table, all else on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.report.table import percent
from hamdg.runs.directory import RunDirectory

if TYPE_CHECKING:
    from tests.stages.conftest import Commander
    from tests.tiny import Tower

Said = pytest.CaptureFixture[str]


def document(capsys: Said, *arguments: str) -> tuple[dict[str, object], str]:
    """Return what a command printed as JSON, and what it said on stderr."""
    capsys.readouterr()
    assert cli.main([*arguments]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert isinstance(found, dict)
    return found, said.err


def holds_the_table(found: dict[str, object], text: str) -> bool:
    """Return whether the rows of a document are those of a table in percent."""
    rows = found["rows"]
    assert isinstance(rows, list)
    lines = [line for line in text.splitlines() if re.search(r"\d\.\d", line)]
    wanted = [
        [row["label"], percent(row["held_out"]), percent(row["standard_error"]), percent(row["held_out_in80"])]
        for row in rows
    ]
    return all(any(all(cell in line for cell in cells) for line in lines) for cells in wanted)


def test_run_prints_its_table_as_json_and_speaks_on_stderr(command: Commander, capsys: Said) -> None:
    own = command("own", tower="vit")
    found, heard = document(capsys, *own.argv, "--json")
    assert "==> train HAM (reconstruction)" in heard
    assert "  step     4/4 | loss " in heard
    record = json.loads(own.directory.record.read_text())
    rows = found["rows"]
    assert isinstance(rows, list)
    assert (found["done"], found["run"], found["report"]) == (True, str(own.directory.path), None)
    assert [row["held_out"] for row in rows] == [row["held_out"] for row in record["rows"]]
    assert found["seconds"] == record["timings"]
    assert cli.main([*own.argv, "--quiet"]) == 0
    assert holds_the_table(found, capsys.readouterr().out)
    again, heard = document(capsys, *own.argv, "--json", "--quiet")
    assert (again, heard) == (found, "")


def test_a_run_that_stops_early_says_how_far_it_is(command: Commander, capsys: Said) -> None:
    own = command("own", tower="vit")
    found, _ = document(capsys, *own.argv, "--until=train", "--json")
    assert (found["done"], found["record"], found["steps"]) == (False, None, {"train": True, "merge": False})
    found, _ = document(capsys, *own.argv, "--until=validate", "--json")
    values = json.loads(own.directory.validation.read_text())["validation"]
    assert (found["done"], found["validation"]) == (False, values)


def test_a_whole_recipe_is_printed_as_json(command: Commander, capsys: Said) -> None:
    own = command("own", tower="vit")
    found, heard = document(capsys, *own.argv, "--print-config", "--json")
    assert isinstance(found["train"], dict)
    assert (found["train"]["steps"], found["held_out"], heard) == (4, "sketch", "")


def test_evaluate_and_merge_of_a_run_print_theirs(copied: Callable[[Tower], RunDirectory], capsys: Said) -> None:
    run = copied("vit")
    found, _ = document(capsys, "evaluate", str(run.path), "--json", "--quiet")
    assert cli.main(["evaluate", str(run.path), "--quiet"]) == 0
    assert holds_the_table(found, capsys.readouterr().out)
    found, _ = document(capsys, "merge", str(run.path), "--merge.options.keep=0.7", "--json")
    assert Path(str(found["run"])).parent == run.path.parent
    assert found["run"] != str(run.path)


def test_an_error_leaves_stdout_empty(command: Commander, capsys: Said) -> None:
    own = command("own", tower="vit")
    assert cli.main([*own.argv, "--json", "--until=mrege"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("hamdg: error: The algorithm `ham` has no step `mrege`")
