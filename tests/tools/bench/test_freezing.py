from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hamdg.config.recipe import ModelConfig
from hamdg.tools.bench import freezing
from hamdg.tools.bench.__main__ import main as run


def test_every_way_is_timed_and_the_cache_is_described(
    small_pacs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(freezing, "MODEL", ModelConfig("mini-resnet8-16", image_size=32))
    monkeypatch.setattr(freezing, "BLOCKS", 1)
    monkeypatch.setattr(freezing, "WAYS", {"none": (0, None), freezing.CACHED: (1, 2)})
    threads = torch.get_num_threads()
    try:
        run(["freezing", "--data", str(small_pacs.parent), "--most", "1"])
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "Training images of 32 px per CPU second, mini-resnet8-16, 1 thread(s), 1 step(s)" in said
    assert "(1.0 x)" in next(line for line in said.splitlines() if line.startswith("none"))
    assert freezing.CACHED in said
    # 16 channels of 16 x 16, two bytes each.
    assert "8.2 kB a view" in said


def test_without_pacs_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        freezing.main(str(tmp_path), 1)
    finally:
        torch.set_num_threads(threads)
    assert "freezing is not measured" in capsys.readouterr().out
