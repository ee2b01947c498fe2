from __future__ import annotations

import pytest

from hamdg.config.recipe import MiniConfig, ModelConfig
from hamdg.tools.bench import training as bench


def test_seconds_is_the_median_without_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 0.0, 3.0, 0.0, 1.0, 0.0, 2.0])
    monkeypatch.setattr("hamdg.tools.bench.training.time.perf_counter", lambda: next(clock))
    assert bench.seconds(lambda: None, repeats=3) == 2.0


def test_rendering_is_timed_in_processor_time_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(bench, "render_image", lambda domain, label, index, config: drawn.append((label, index)))
    monkeypatch.setattr("hamdg.tools.bench.training.time.process_time", lambda: next(clock))
    assert bench.images_per_second("photo", MiniConfig(), count=14) == 7.0
    assert drawn == [(label, index) for index in (0, 0, 1) for label in range(7)]


def test_every_part_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "images_per_second", lambda name, config: 400.0)
    monkeypatch.setattr(bench, "LARGE", 1_000_000)
    monkeypatch.setattr(bench, "set_threads", lambda wanted: 1)
    bench.main()
    said = capsys.readouterr().out
    assert said.startswith("1 thread(s)\n")
    assert said.count("400 images/s/core") == 4
    for line in (
        "3 forward and backward passes of 16",
        "history update of 1 M parameters",
    ):
        assert line in said
    assert ModelConfig().name in said
