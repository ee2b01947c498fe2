"""The reference of the merge methods, and methods of packages that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg import cli
from hamdg.commands.merging.reference import main, reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "merge-methods.md"


def test_the_reference_is_what_the_methods_say(capsys: pytest.CaptureFixture[str]) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == reference(), "write it again with `python -m hamdg.commands.merging.reference`"
    assert cli.main(["merge", "--list", "--markdown"]) == 0
    assert all(line in document for line in capsys.readouterr().out.splitlines())


def test_the_reference_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    assert main([str(tmp_path / "methods.md")]) == 0
    assert (tmp_path / "methods.md").read_text(encoding="utf-8") == reference()


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
