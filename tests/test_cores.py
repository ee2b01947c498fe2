from __future__ import annotations

import os
from pathlib import Path

import pytest

import hamdg
from hamdg.cores import usable_cores


def test_the_cores_that_this_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 6}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3


@pytest.mark.parametrize(("count", "expected"), [(64, 64), (None, 1)])
def test_all_cores_are_counted_where_a_system_cannot_say_which_ones(
    count: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert usable_cores() == expected


def test_nothing_else_counts_cores() -> None:
    source = Path(hamdg.__file__).parent
    counting = [file.name for file in source.rglob("*.py") if "cpu_count" in file.read_text("utf-8")]
    assert counting == ["cores.py"]
