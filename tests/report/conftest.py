from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def same_as_golden() -> Callable[[str, str], None]:
    """Return a function that compares a text with a frozen file (or freezes it, when asked to)."""

    def compare(text: str, name: str) -> None:
        if os.environ.get("HAMDG_UPDATE_GOLDEN"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8")

    return compare
