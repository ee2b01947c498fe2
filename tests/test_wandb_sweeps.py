"""The W&B sweeps: `wandb agent` calls our command line, whose arguments are those that W&B writes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TypedDict

import pytest
import yaml

from hamdg.commands import running
from hamdg.config.parsing import split_overrides
from hamdg.config.reading import read_recipe
from hamdg.config.shipped import find_file, shipped_names
from hamdg.data.registry import builtin
from hamdg.runs.identity import run_directory

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments" / "wandb").glob("*.yaml"))


class Values(TypedDict):
    values: list[object]


class WandbSweep(TypedDict):
    program: str
    command: list[str]
    method: str
    metric: dict[str, str]
    parameters: dict[str, Values]


def read(path: Path) -> WandbSweep:
    found: WandbSweep = yaml.safe_load(path.read_text())
    return found


def arguments(sweep: WandbSweep, values: tuple[object, ...]) -> list[str]:
    """Return the command that W&B's agent makes of one point of the grid."""
    # Takes seconds, which processes that only collect the tests, or do others, need not wait.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    given = {name: {"value": value} for name, value in zip(sweep["parameters"], values, strict=True)}
    flags = create_sweep_command_args({"args": given})["args"]
    command = create_sweep_command(sweep["command"])
    return [part for word in command for part in (flags if word == "${args}" else [word])]


def test_there_is_one_for_each_benchmark_and_one_for_ablations() -> None:
    assert {path.stem for path in FILES} == {*builtin(), "ablations"}
    assert not any(name.startswith("wandb/") for what in ("recipe", "sweep file") for name in shipped_names(what))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_command_is_one_of_ours(path: Path) -> None:
    sweep = read(path)
    points = list(product(*(one["values"] for one in sweep["parameters"].values())))
    runs = set()
    for values in points:
        program, verb, name, *rest = arguments(sweep, values)
        assert (program, verb) == (sweep["program"], "run") == ("hamdg", "run")
        overrides, own = split_overrides([one for one in rest if one != "--tracking=wandb"], running.OPTIONS)
        assert not own
        runs.add(run_directory(read_recipe(find_file(name), overrides)))
    # No two points are the same run, or W&B would show one twice.
    assert len(runs) == len(points)
    assert "--tracking=wandb" in sweep["command"]
    assert f"{len(points)} runs" in path.read_text()


# `mini-scenes` has one source domain, and targets that are adapted to all at once.
IN_TURN = [path for path in FILES if path.stem not in ("ablations", "mini-scenes")]


@pytest.mark.parametrize("path", IN_TURN, ids=lambda path: path.stem)
def test_every_domain_is_held_out_in_turn(path: Path) -> None:
    assert read(path)["parameters"]["held_out"]["values"] == list(builtin()[path.stem].domains)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_settings_are_chosen_on_source_validation(path: Path) -> None:
    assert read(path)["metric"] == {"name": "validation", "goal": "maximize"}
