from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hamdg.data.benchmark import Benchmark, Version
from hamdg.tools.bench import indexing as bench
from hamdg.tools.bench.__main__ import main as run
from hamdg.tools.bench.measure import Measured

SMALL = Benchmark(
    name="small", domains=("a", "b"), classes=("x", "y", "z"), versions=(Version("one", {"a": 7, "b": 4}),)
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "benchmark", lambda name: SMALL)
    monkeypatch.setattr(bench, "_LINKS", 5)
    monkeypatch.setattr(bench, "SETTLE", 0)


@pytest.mark.usefixtures("small")
def test_the_tree_has_the_published_counts(tmp_path: Path) -> None:
    assert bench.write_tree(tmp_path, SMALL) == 11
    counts = {
        (domain, name): len(list((tmp_path / domain / name).iterdir())) for domain in "ab" for name in SMALL.classes
    }
    assert counts == {("a", "x"): 3, ("a", "y"): 2, ("a", "z"): 2, ("b", "x"): 2, ("b", "y"): 1, ("b", "z"): 1}
    assert max(path.stat().st_nlink for path in tmp_path.glob("original-*")) == 6
    assert bench.seconds_to_list(str(tmp_path)) > 0


@pytest.mark.usefixtures("small")
def test_fresh_processes_open_the_index(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[Sequence[str], Mapping[str, str] | None]] = []

    def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
        asked.append((command, environment))
        return Measured(1.5, 61_000_000, 0.25)

    monkeypatch.setattr(bench, "measured", measured)
    run(["loading", "--index"])
    said = capsys.readouterr().out

    assert said.startswith("11 files in 2 domains\n")
    assert [line.split() for line in said.splitlines()[3:]] == [
        [which, "time", "0.25", "1.50", "61"] for which in ("first", "second", "third")
    ]
    command, environment = asked[0]
    assert command[:3] == [sys.executable, "-m", "hamdg.tools.bench.indexing"]
    assert environment is not None
    assert environment["HAMDG_CACHE"].startswith(str(Path(command[3]).parent))
    assert asked[1:] == asked[:1] * 2
