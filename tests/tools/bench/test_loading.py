from __future__ import annotations

from pathlib import Path

import pytest

from hamdg.data.images import Images
from hamdg.data.preprocess import Preprocess
from hamdg.tools.bench import classic
from hamdg.tools.bench import loading as bench
from hamdg.tools.bench.__main__ import main as run


def test_every_use_of_images_is_measured(
    pacs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PASSES", 1)
    for module in (bench, classic):
        monkeypatch.setattr(module, "SIDE", 32)
        monkeypatch.setattr(module, "FORMAT", Preprocess(32))
    monkeypatch.setattr(bench, "set_threads", lambda wanted: 1)
    run(["loading", "--data", str(pacs), "--most", "1"])
    said = capsys.readouterr().out

    assert "28 images of PACS, 1 thread(s), 1 round(s)" in said
    for title in ("preset domainbed", "preset clip", "evaluation, first reading", "evaluation, later readings"):
        assert title in said


def test_a_line_has_medians_and_the_range_of_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    # A round that is not counted, then three: seconds of the classic way and of two passes of ours.
    seconds = [9, 9, 9, 2, 0.1, 0.1, 4, 0.1, 0.1, 3, 0.5, 0.5]
    clock = iter([moment for each in seconds for moment in (10.0, 10.0 + each)])
    opened: list[int] = []

    def fresh() -> list[Images]:
        opened.append(1)
        return []

    monkeypatch.setattr(bench, "PASSES", 2)
    monkeypatch.setattr("hamdg.tools.bench.loading.time.process_time", lambda: next(clock))
    comparison = bench.Comparison("reading", 5, lambda: None, fresh, lambda given: None)

    # Classic: 60, 30 and 40 images a second; ours: 1200, 1200 and 240.
    assert bench.row(comparison, 120, 3) == ("reading", "40", "1,200", "30.0 (6.0, 40.0)", "5")
    assert len(opened) == 8


def test_without_images_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(str(tmp_path / "nowhere"))
    said = capsys.readouterr()
    assert "loading is not measured: The folder `" in said.out + said.err
    assert "does not exist" in said.out + said.err
