from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb

from hamdg.tracking import wandb_service
from hamdg.tracking.step import TrackedStep
from tests.tracking.stub_server import StubServer, stub_server

MakeStep = Callable[..., TrackedStep]


@pytest.fixture
def make_step(tmp_path: Path) -> MakeStep:
    """Return a function that makes up a step of a run in a folder of its own."""

    def make(name: str = "train", run: str = "run", **given: object) -> TrackedStep:
        values: dict[str, object] = {
            "key": f"{name}-{run}",
            "folder": tmp_path / run,
            "folders": f"{tmp_path}/*",
            "title": f"{name} HAM on sketch, seed 0",
            "group": "mini/sketch/ham/seed0",
            "config": {"method": "HAM", "train.lr": 0.1},
        }
        return TrackedStep(name, **(values | given))  # type: ignore[arg-type]

    return make


@pytest.fixture
def wandb_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let a test use W&B: nobody is logged in, its service ends with the test, and what was said is forgotten."""
    for name, file in (("NETRC", "netrc"), ("WANDB_CONFIG_DIR", "settings")):
        monkeypatch.setenv(name, str(tmp_path / "nowhere" / file))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb_service, "_said", set())
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(wandb_session: pytest.MonkeyPatch) -> Iterator[StubServer]:
    """Return a server that somebody is logged in to."""
    with stub_server() as found:
        for name, value in found.environment.items():
            wandb_session.setenv(name, value)
        yield found
        wandb.teardown()
