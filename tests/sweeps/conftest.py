from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import pytest
import yaml

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
