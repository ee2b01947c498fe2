from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hamdg.tools.bench import tracking


def test_the_time_of_children_that_are_waited_for_counts(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    assert 0.3 <= tracking.processor_seconds([sys.executable, "-c", code], tmp_path) < 3


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        tracking.processor_seconds([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_shares_are_those_of_pairs() -> None:
    assert tracking.shares([10, 20], [10.5, 19]) == pytest.approx([0.05, -0.05])


def test_every_way_is_measured_in_pairs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(command: list[str], folder: Path) -> float:
        return 10.2 if any("wandb" in word for word in command) else 10.4 if "tensorboard" in " ".join(command) else 10

    monkeypatch.setattr(tracking, "processor_seconds", seconds)
    tracking.main(3)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[3] == ["W&B,", "offline", "10.0", "s", "+2.0", "%", "within", "3", "%"]
    assert lines[-1] == ["TensorBoard", "10.0", "s", "+4.0", "%", "above", "3", "%"]
