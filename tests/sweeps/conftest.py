from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import pytest
import yaml

from hamdg.sweeps.launchers.local import Local
from hamdg.sweeps.ledger import Outcome, ledger_of
from hamdg.sweeps.sweep import run_sweep
from hamdg.sweeps.sweep_file import read_sweep

P = ParamSpec("P")
T = TypeVar("T")

SWEEP: dict[str, object] = {
    "held_out": ["sketch", "art"],
    "seeds": [0, 3],
    "controls": False,
    "reports": False,
    "conditions": {"clean": {}, "noisy": {"data.mini.label_noise": 0.2}},
    "variants": {
        "plain": {"recipe": "ham.yaml", "set": {"ham.harmonization.method": "none", "train.lr": 0.00001}},
        "ERM": {"recipe": "erm.yaml"},
    },
}


class SweepFile(Protocol):
    """Writes a sweep and its recipes into the test's own folder; a change of `None` drops the key."""

    def __call__(self, **changes: object) -> Path: ...


@pytest.fixture
def sweep_file(tmp_path: Path) -> SweepFile:
    def write(**changes: object) -> Path:
        values = {
            key: value
            for key, value in {**SWEEP, "root": str(tmp_path / "logs"), **changes}.items()
            if value is not None
        }
        (tmp_path / "ham.yaml").write_text("train: {steps: 40}\ncontrols: {erm: true}\n")
        (tmp_path / "erm.yaml").write_text("algorithm: erm\n")
        path = tmp_path / "table.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


class Inline(Executor):
    """Does each job at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run(path: Path, processes: int = 1) -> list[Outcome]:
    """Do the jobs of a sweep file in processes of this machine."""
    outcomes = run_sweep(path, read_sweep(path), processes, Local())
    ledger_of(read_sweep(path), path).raise_failures(outcomes)
    return outcomes


def ledger(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the only ledger that a sweep in a folder has written."""
    (path,) = (folder / "logs" / "sweeps").glob("table-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
