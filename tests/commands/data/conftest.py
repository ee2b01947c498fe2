"""Two small benchmarks, and calls of `hamdg data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg import cli, console
from hamdg.data import registry
from hamdg.data.benchmark import Benchmark, Version

FULL = {"real": (2, 1), "sketch": (1, 2)}
CUT = FULL | {"sketch": (1, 1)}


def version(name: str, counts: dict[str, tuple[int, int]], note: str = "") -> Version:
    return Version(name, {domain: sum(own) for domain, own in counts.items()}, counts, note)


TOYS = Benchmark(
    name="toys",
    title="Toys",
    domains=("real", "sketch"),
    classes=("cat", "dog"),
    folders=("Toys",),
    versions=(version("as in the papers", FULL), version("cut", CUT, "One sketch is missing.")),
)
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
    console.set_quiet(False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for domain, counts in FULL.items():
        for name, count in zip(TOYS.classes, counts, strict=True):
            for number in range(count):
                draw(tmp_path / "Toys" / domain / name / f"{number}.png")
    return tmp_path / "Toys"


def draw(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(file)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run `hamdg data` and return what it printed: the error if it is one."""
    assert cli.main(["data", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code == 2 else captured.out
