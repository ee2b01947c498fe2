"""The document about merging: its generated parts, and the package that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hamdg import cli
from hamdg.commands.merging.methods import update
from hamdg.errors import ConfigError

DOCUMENT = Path(__file__).parents[3] / "docs" / "merging.md"


def between(text: str, mark: str) -> str:
    return text.split(f"<!-- {mark}: begin -->\n")[1].split(f"\n<!-- {mark}: end -->")[0]


def test_the_table_of_the_document_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", "--list", "--markdown"]) == 0
    printed = capsys.readouterr().out.rstrip("\n")
    hint = "update it with `python -m hamdg.commands.merging.methods docs/merging.md`"
    document = DOCUMENT.read_text(encoding="utf-8")
    assert f"{between(document, 'methods')}\n\n{between(document, 'aliases')}" == printed, hint


def test_the_texts_of_the_document_are_those_of_the_methods(tmp_path: Path) -> None:
    copy = tmp_path / "merging.md"
    copy.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    update(copy)
    hint = "update it with `python -m hamdg.commands.merging.methods docs/merging.md`"
    assert copy.read_text(encoding="utf-8") == DOCUMENT.read_text(encoding="utf-8"), hint


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("nothing")
    with pytest.raises(ConfigError, match="has no place for the methods; mark it with `<!-- methods: begin -->`"):
        update(document)
    assert document.read_text() == "nothing"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Install the package of the document, word for word, into a folder of its own."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## Your own method")[1].split("\n## ")[0]
    source, target = tmp_path / "source", tmp_path / "tensor set"
    source.mkdir()
    (source / "pyproject.toml").write_text(_block(section, "toml"))
    (source / "median_merge.py").write_text(_block(section, "python"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def _block(text: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_package_of_the_document_is_installed_listed_and_merges(package: Path, tmp_path: Path) -> None:
    base = torch.tensor([1.0, 1.0])
    for name, tensor in (("base", base), ("a", base + 1), ("b", base + 2), ("c", base + 9)):
        save_file({"w": tensor}, tmp_path / f"{name}.safetensors")
    call = "--method median --scale 0.5 a.safetensors b.safetensors c.safetensors --base base.safetensors"
    calls = (["merge", "--list"], ["merge", *call.split(), "--out", "m.safetensors"])
    # One process for both: importing torch is what takes the time.
    code = f"from hamdg.cli import main; assert [main(call) for call in {calls!r}] == [0, 0]"
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("median "))
    assert "Add the median of the sources' changes to the base, entry by entry" in row
    assert "options  scale 0.5\n" in done.stdout
    # The changes are 1, 2 and 9; half the median is 1.
    assert load_file(tmp_path / "m.safetensors")["w"].tolist() == [2.0, 2.0]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package whose methods cannot be imported."""
    info = tmp_path / "wrong_merge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-merge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hamdg.merge_methods]\nwrong = wrong_merge\n")
    (tmp_path / "wrong_merge.py").write_text("raise ZeroDivisionError('oh')\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("broken")
def test_a_package_that_cannot_be_loaded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", "--list"]) == 2
    said = "The merge methods `wrong_merge` of the package `wrong-merge` cannot be loaded (ZeroDivisionError: oh); "
    assert capsys.readouterr().err == f"hamdg: error: {said}repair or remove that package.\n"


@pytest.mark.usefixtures("broken")
def test_a_package_that_cannot_be_loaded_leaves_the_other_methods_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", "--explain", "ties"]) == 0
    assert capsys.readouterr().err == ""
