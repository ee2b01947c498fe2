"""Sweeps whose runs are real ones, in processes of their own, alone and beside another sweep."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.sweeps.ledger import SweepError
from tests.sweeps.conftest import ledger, run
from tests.tiny import tiny_settings

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


@pytest.mark.slow
def test_a_real_sweep_runs_in_processes(sweep_file: SweepFile, tmp_path: Path) -> None:
    variants = {
        "fine": {"recipe": "ham.yaml", "set": tiny_settings()},
        "broken": {"recipe": "ham.yaml", "set": tiny_settings(data__batch_size=1000)},
    }
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants=variants)
    with pytest.raises(SweepError, match=r"^1 of 2 runs failed: variant `broken`, .*`data\.batch_size` is 1000"):
        run(path, processes=2)

    by_name = {line["variant"]: line for line in ledger(tmp_path)}
    assert (Path(by_name["fine"]["run"]) / "done").exists()
    assert "ConfigError" in Path(by_name["broken"]["traceback"]).read_text()


class Trainings:
    """Notes, while it is looked at, every `train.json` that was ever written: linked ones are one and the same."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: set[int] = set()

    def look(self) -> None:
        for path in self.root.glob("mini/*/*/*/train.json"):
            with contextlib.suppress(FileNotFoundError):
                self.found.add(path.stat().st_ino)


def command(path: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "hamdg", "sweep", str(path), "--processes=1"]
    # A session of its own, so that a signal to it reaches no other process.
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=path.parent, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [False, True])
def test_two_sweeps_at_once_share_the_work(sweep_file: SweepFile, tmp_path: Path, kill: bool) -> None:
    small = tiny_settings(train__steps=30)
    variants = {"ERM": {"recipe": "erm.yaml", "set": small}} | {
        f"keep {share}": {"recipe": "ham.yaml", "set": {**small, "merge.options.keep": share}} for share in (0.2, 0.6)
    }
    grid: dict[str, object] = {"held_out": ["sketch", "photo"], "seeds": [0], "conditions": None, "out": "page.md"}
    # In another order, so that each would begin with a run that the other one keeps for later.
    first = sweep_file(**grid, variants=dict(reversed(variants.items())) if not kill else variants)
    first = first.rename(tmp_path / "first.yaml")
    trainings = Trainings(tmp_path / "logs")
    both = [command(first), command(sweep_file(**grid, variants=variants))]
    while any(process.poll() is None for process in both):
        trainings.look()
        if kill and both[0].poll() is None and trainings.found:
            os.kill(both[0].pid, signal.SIGKILL)
        time.sleep(0.005)
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [-signal.SIGKILL if kill else 0, 0], said
    assert len(list((tmp_path / "logs").glob("mini/*/*/*/done"))) == 6
    assert [entry["error"] for entry in ledger(tmp_path)] == [""] * 6
    if not kill:
        tables = [sorted(out.partition("% correct")[2].splitlines()) for out, _ in said]
        assert tables[0] == tables[1] != []
        assert (tmp_path / "page.md").read_text().count("<!-- begin") == 2
    # Two held-out domains, and HAM and ERM for each: the merges of one training share it.
    assert len(trainings.found) == 4
