"""Whether a run trains in one process or in several, and which of them runs the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from hamdg import console
from hamdg.cohort.place import joined_place
from hamdg.cohort.team import JoinedTeam, StartedTeam, Team
from hamdg.config.recipe import RuntimeConfig
from hamdg.errors import ConfigError
from hamdg.stages.machine import keep_freed_memory, set_threads

# The team of the command, where `srun` or `torchrun` has started its processes.
_joined: list[JoinedTeam] = []


def team_of(runtime: RuntimeConfig) -> Team | None:
    """Return the processes that train together; `None` where this one trains alone."""
    if runtime.processes == 1 and runtime.strategy == "auto":
        return None
    return _joined[-1] if _joined else StartedTeam(runtime.processes)


def lead_alone() -> None:
    """Tell Lightning that this process is the first one of its run, which it is wherever a pipeline runs.

    Lightning goes by `SLURM_PROCID` and `RANK`, which `srun -n 4 hamdg sweep` sets in processes that work on other runs
    each; loggers take nothing in any but the first.
    """
    rank_zero_only.rank = 0  # type: ignore[attr-defined]


def check_processes(runtime: RuntimeConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do, before anything is written.

    Args:
        runtime: How the run is executed.
        device: What it is executed on.

    Raises:
        ConfigError: There are too few GPUs, or nothing has started processes on the other machines.
    """
    if runtime.nodes > 1 and not _joined:
        raise ConfigError(
            f"`runtime.nodes` is {runtime.nodes}, but only this process was started; start the same command on every "
            "machine with `srun` or `torchrun`, as docs/devices.md shows."
        )
    if device.type == "cuda" and torch.cuda.device_count() < runtime.devices:
        raise ConfigError(
            f"`runtime.devices` is {runtime.devices}, but torch sees {torch.cuda.device_count()} GPUs; use at most as "
            "many, and let every process see all GPUs of its machine."
        )


@contextmanager
def joined(runtime: RuntimeConfig) -> Iterator[bool]:
    """Join the processes that `srun` or `torchrun` has started with the same command, if one of them did.

    The block runs the pipeline where it gets `True`, in the first process. The others have done their part by then.

    Args:
        runtime: How the run is executed.

    Raises:
        ConfigError: Another number of processes was started than the recipe says.
    """
    place = joined_place()
    if place is None:
        yield True
        return
    if place.world != runtime.processes:
        raise ConfigError(
            f"{place.world} processes were started, but `runtime.devices` ({runtime.devices}) times `runtime.nodes` "
            f"({runtime.nodes}) is {runtime.processes}; give both as they were started."
        )
    team = JoinedTeam(place)
    if place.rank > 0:
        set_threads(runtime.threads)
        keep_freed_memory()
        with console.output(quiet=True):
            team.serve()
        yield False
        return
    _joined.append(team)
    try:
        yield True
    finally:
        _joined.remove(team)
        team.close()
