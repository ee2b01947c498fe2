from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hamdg.report.collection import collect
from hamdg.runs.record import read_record
from hamdg.tools.bench import tabulating as bench
from hamdg.tools.bench.__main__ import main as run
from hamdg.tools.bench.measure import Measured, measured


def test_the_runs_are_whole_and_as_large_as_real_ones(tmp_path: Path) -> None:
    size = bench.write_runs(tmp_path, 8)
    assert size / 8 == pytest.approx(bench.BYTES, rel=0.1)
    found = collect([tmp_path])
    assert len(found.runs) == 8
    assert not found.problems
    assert read_record(found.runs[0].path)["label"] == found.runs[0].summary.label == "method 0"


def test_fresh_processes_make_the_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Sequence[str]] = []

    def instead(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
        asked.append(command)
        return Measured(1.5, 61_000_000)

    monkeypatch.setattr(bench, "measured", instead)
    monkeypatch.setattr(bench.main, "__defaults__", (8,))
    run(["tables"])
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-4:] for line in said[3:]] == [["8", "0", "1.50", "61"]] * 3
    assert [command[:4] for command in asked] == [[sys.executable, "-m", "hamdg", "table"]] * 3


@pytest.mark.slow
def test_5000_records_are_tabulated_in_seconds(tmp_path: Path) -> None:
    bench.write_runs(tmp_path, bench.RECORDS)
    found = measured([sys.executable, "-m", "hamdg", "table", str(tmp_path), "--rows", "label"])
    # 2 s on an idle core; the suite shares its cores.
    assert found.wall < 8.0
