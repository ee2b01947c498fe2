"""Where a process stands among those that train together, and how `srun` and `torchrun` say so; no torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from hamdg.errors import ConfigError


class Place(NamedTuple):
    """Where a process stands among those that train together.

    Args:
        rank: Its number, from 0; the first one writes, prints and decides.
        world: How many there are.
        local: Its number on its machine, which is that of its GPU.
        per_node: How many there are on a machine.
        address: The machine of the first process.
        port: The port on which that is reached.
    """

    rank: int
    world: int
    local: int
    per_node: int
    address: str
    port: int

    @property
    def node(self) -> int:
        """The number of its machine, from 0."""
        return self.rank // self.per_node


def joined_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return where `torchrun` or `srun` has put this process; `None` where neither started several.

    Raises:
        ConfigError: A variable is not a number.
    """

    def number(name: str) -> int:
        text = environment[name]
        if not (text.isascii() and text.isdigit()):
            raise ConfigError(f"Expected the environment variable `{name}` to be a number, but got `{text}`.")
        return int(text)

    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        world = number("WORLD_SIZE")
        per_node = number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else world
        address, port = environment["MASTER_ADDR"], number("MASTER_PORT")
        place = Place(number("RANK"), world, number("LOCAL_RANK"), per_node, address, port)
    # Steps alone have these: what `sbatch` starts is one process, however many tasks the job has.
    elif {"SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NODELIST"} <= environment.keys():
        world = number("SLURM_STEP_NUM_TASKS")
        per_node = max(1, world // number("SLURM_STEP_NUM_NODES"))
        address = environment.get("MASTER_ADDR") or _first_of(environment["SLURM_STEP_NODELIST"])
        # As Lightning does: every job has another one, which all of its processes know.
        port = number("MASTER_PORT") if "MASTER_PORT" in environment else 15_000 + number("SLURM_JOB_ID") % 10_000
        place = Place(number("SLURM_PROCID"), world, number("SLURM_LOCALID"), per_node, address, port)
    else:
        return None
    return place if place.world > 1 else None


def _first_of(nodes: str) -> str:
    """Return the first machine of a list as SLURM writes it."""
    # Importing Lightning takes long, and most processes were started by nobody else.
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    return SLURMEnvironment.resolve_root_node_address(nodes)
