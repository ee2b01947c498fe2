"""The command of a finished run, given once more."""

from __future__ import annotations

import pytest

from hamdg import cli
from hamdg.runs.directory import RunDirectory

Capture = pytest.CaptureFixture[str]


def again(run: RunDirectory, *more: str) -> int:
    """Repeat the command of a run, with a recipe at a place of its own."""
    recipe = run.path.parents[3] / "recipe.yaml"
    if not recipe.exists():
        recipe.write_bytes(run.config.read_bytes())
    fixed = [f"--runtime.root={run.path.parents[3]}", "--runtime.quiet=true", "--evaluate.lines=0"]
    return cli.main(["run", str(recipe), *fixed, *more])


def error_of(capsys: Capture) -> str:
    error = capsys.readouterr().err
    assert error.startswith("hamdg: error: ")
    assert error.count("\n") == 1
    return error.removeprefix("hamdg: error: ").removesuffix("\n")
