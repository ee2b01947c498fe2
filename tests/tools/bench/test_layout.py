from __future__ import annotations

import pytest
import torch

from hamdg.tools.bench import layout


def test_the_gradient_on_small_maps_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm")
    layout._small_maps(1, side=32, batch=2)
    said = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [line[0] for line in said] == ["0", "4"]
    assert all(float(line[2]) <= float(line[1]) <= float(line[3]) for line in said)


def test_both_layouts_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(layout, "NAMES", ("mini-resnet8-16",))
    monkeypatch.setattr(layout, "_small_maps", lambda *_: None)  # mini-resnet8 has too few stages
    threads = torch.get_num_threads()
    try:
        layout.main(1, side=32, batch=2)
    finally:
        torch.set_num_threads(threads)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in said[-2:]] == [["mini-resnet8-16", way] for way in ("channels_last", "contiguous")]
    assert all(int(cell) > 0 for line in said[-2:] for cell in line[2:])
