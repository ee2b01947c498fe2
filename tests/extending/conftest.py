"""Installs the packages that docs/extending.md shows, word for word, and runs the command line beside them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"


def read_example(heading: str) -> dict[str, str]:
    """Return the files that a section of the document shows: a name in backticks, a colon, and the text in a fence."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    files = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
    assert "pyproject.toml" in files
    return files


Install = Callable[[str], Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Return a function that installs the package of a section into a folder of its own, which it returns."""

    def work(heading: str) -> Path:
        source, target = tmp_path / "source", tmp_path / "site packages"
        source.mkdir()
        for name, text in read_example(heading).items():
            (source / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        command += ["--disable-pip-version-check", "--target", str(target), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        return target

    return work


def hamdg(
    package: Path,
    folder: Path,
    *calls: Sequence[str],
    codes: Sequence[int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run commands of hamdg in a folder, beside a package; in one process, since importing torch takes the time.

    Args:
        package: Where the package is installed.
        folder: The working directory.
        calls: The arguments of each command.
        codes: The exit codes that are expected; all 0 if not given.
    """
    expected = list(codes or [0] * len(calls))
    code = "import sys; from hamdg.cli import main; "
    code += f"codes = [main(call) for call in {[list(call) for call in calls]!r}]; sys.exit(codes != {expected!r})"
    variables = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done
