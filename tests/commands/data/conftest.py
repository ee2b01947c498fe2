"""A benchmark of many classes beside the toys, and calls of `hamdg data`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg import cli
from hamdg.data import registry
from hamdg.data.benchmark import Benchmark, Version
from tests.toys import TOYS, grow

MANY = Benchmark(
    name="many",
    title="Many",
    domains=("real",),
    classes=tuple(f"class_{number:02}" for number in range(41)),
    versions=(Version("as in the papers", {"real": 41}, {"real": (1,) * 41}), Version("raw", {"real": 50})),
)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test run in a folder of its own, with benchmarks of its own beside the others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HAMDG_DATA", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no hub"))
    monkeypatch.setitem(registry.builtin(), "toys", TOYS)
    monkeypatch.setitem(registry.builtin(), "many", MANY)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run `hamdg data` and return what it printed: the error if it is one."""
    assert cli.main(["data", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code == 2 else captured.out
