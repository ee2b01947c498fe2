"""How W&B is started: with its files in the run's folder, logged in or offline, and never in the way of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from hamdg import console
from hamdg.config.tracking import LONGEST_NAME, TrackingConfig
from hamdg.reachable import answers
from hamdg.text import first_line
from hamdg.tracking.step import TrackedStep

if TYPE_CHECKING:
    from types import ModuleType

    from wandb import Run

Mode = Literal["online", "offline", "disabled"]
PROJECT = "hamdg"
# What a `wandb agent` tells the one process that it starts; a run has several W&B runs, one of which is meant.
_OF_AN_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME", "WANDB_NAME")
_MODES: dict[str, Mode] = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
_said: set[str] = set()
# Servers that answer, but where a W&B run could not begin: later steps of this process do not wait for them again.
_given_up: set[str] = set()


class Agent(NamedTuple):
    """What a `wandb agent` wants: the sweep, and the id of the W&B run that reports to it."""

    sweep: str
    run: str


def mode_of(config: TrackingConfig) -> Mode:
    """Return the mode that a recipe asks for, or the environment variable `WANDB_MODE`."""
    wanted = config.mode or os.environ.get("WANDB_MODE", "").strip().lower() or "online"
    return _MODES.get(wanted, "disabled" if wanted == "disabled" else "online")


@contextmanager
def files_inside(folder: Path) -> Iterator[None]:
    """Let W&B write into a folder alone while the block runs, but for what the user has given a place.

    W&B reads environment variables, some at its start and some whenever it writes.
    """
    own = {
        "WANDB_CACHE_DIR": str(folder / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(folder / "wandb" / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / "wandb" / "artifacts"),
        # Reports of W&B's own errors to its makers.
        "WANDB_ERROR_REPORTING": "false",
    }
    added = {name: value for name, value in own.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def project_of(config: TrackingConfig) -> str:
    """Return the project that a recipe names, or the environment variable `WANDB_PROJECT`, or our own."""
    return config.project or os.environ.get("WANDB_PROJECT") or PROJECT


def begin(config: TrackingConfig, step: TrackedStep, mode: Mode) -> Run:
    """Begin, or continue, the W&B run of a step; offline where W&B cannot be reached.

    Args:
        config: The recipe's section `tracking`.
        step: The step.
        mode: `online` or `offline`.
    """
    asked = _agent() if step.is_result else None
    with _without_agent():
        wandb = _library()
        if mode == "online" and (reason := _why_offline()):
            say_offline(reason, step)
            mode = "offline"
        try:
            return _begun(config, step, mode, asked)
        except wandb.errors.Error as error:
            if mode == "offline":
                raise
            _given_up.add(_server())
            say_offline(f"it cannot begin ({first_line(error)})", step)
            # Its service does not give the id of a W&B run that could not begin free again.
            return _begun(config, replace(step, key=f"{step.key}-offline"), "offline", None)


def say_offline(reason: str, step: TrackedStep) -> None:
    """Print, once, that W&B runs stay on this machine, and how they are uploaded later."""
    text = f"W&B works offline: {reason}. The run goes on; `wandb sync {step.folders}/wandb` uploads what it logs."
    _say_once("offline", text)


def say_slow(patience: float, step: TrackedStep) -> None:
    """Print, once, that W&B did not take everything in time."""
    _say_once(
        "slow",
        f"W&B has not taken everything within {patience:g} seconds (`tracking.patience`); "
        f"`wandb sync --no-skip-online {step.folders}/wandb` uploads the rest.",
    )


def say_lost(error: Exception) -> None:
    """Print, once, that W&B has stopped working."""
    _say_once("lost", f"W&B cannot be used ({first_line(error)}); the run goes on without it.")


def _say_once(kind: str, text: str) -> None:
    if kind not in _said:
        _said.add(kind)
        console.warning(text)


def _begun(config: TrackingConfig, step: TrackedStep, mode: Mode, asked: Agent | None) -> Run:
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        symlink=False,
        use_dot_wandb=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        save_code=False,
        label_disable=True,
        sagemaker_disable=True,
        x_save_requirements=False,
        x_disable_stats=not config.system,
        x_disable_machine_info=not config.system,
        init_timeout=config.patience,
        finish_timeout=config.patience,
        finish_timeout_raises=True,
    )
    if asked is not None:
        settings.sweep_id = asked.sweep
    if mode == "offline":
        _remove_part(step)
    return wandb.init(
        project=project_of(config),
        entity=config.entity or os.environ.get("WANDB_ENTITY") or None,
        dir=str(step.folder),
        id=asked.run if asked is not None else step.key,
        resume="allow",
        # Never the process's own `wandb.run`: a command has several at the same time.
        reinit="create_new",
        mode=mode,
        group=(config.group or step.group)[-LONGEST_NAME:],
        job_type=step.name,
        name=step.title[:LONGEST_NAME],
        tags=config.tags,
        config=dict(step.config),
        settings=settings,
    )


def _remove_part(step: TrackedStep) -> None:
    """Remove what a stopped process has left of the same W&B run offline, which the new one has, too.

    `wandb sync` would add the second to the first.
    """
    for folder in (step.folder / "wandb").glob(f"offline-run-*-{step.key}"):
        if not any(folder.glob("*.synced")):
            shutil.rmtree(folder)


def _library() -> ModuleType:
    """Import W&B; it prints nothing, unless the process uses it for something else."""
    import wandb

    if wandb.run is None:
        wandb.setup(wandb.Settings(silent=True))
    return wandb


def _why_offline() -> str:
    """Return why W&B cannot be reached, and what helps; nothing where it can."""
    import wandb

    host = _server()
    if host in _given_up:
        return f"`{host}` did not begin an earlier step"
    try:
        known = wandb.run is not None or wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        return f"the login is not valid ({first_line(error)}); `wandb login` makes one"
    if not known:
        return "nobody is logged in; `wandb login` does that once for all runs"
    return "" if answers(host) else f"`{host}` does not answer"


def _server() -> str:
    import wandb

    return str(wandb.setup().settings.base_url)


def _agent() -> Agent | None:
    """Return what a `wandb agent` wants of this process, if one has started it."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return Agent(sweep, run) if sweep and run else None


@contextmanager
def _without_agent() -> Iterator[None]:
    """Hide what an agent has told this process: W&B would take all W&B runs of a command for the one that is meant."""
    hidden = {name: os.environ.pop(name) for name in _OF_AN_AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
