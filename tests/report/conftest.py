from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.report.contract import Record, read_record

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def ham() -> Record:
    return read_record(GOLDEN / "ham")


@pytest.fixture
def erm() -> Record:
    return read_record(GOLDEN / "erm")


@pytest.fixture
def run_copy(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a frozen run to where it may be written to."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(GOLDEN / name, tmp_path / name))

    return copy


@pytest.fixture
def same_as_golden() -> Callable[[str, str], None]:
    """Return a function that compares a text with a frozen file (or freezes it, when asked to)."""

    def compare(text: str, name: str) -> None:
        if os.environ.get("HAMDG_UPDATE_GOLDEN"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8")

    return compare
