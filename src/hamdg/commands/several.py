"""`hamdg run RECIPE --seed 0,1,2 --held_out all`: several runs of a recipe, made as those of a sweep are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hamdg.commands import launching
from hamdg.commands.numbers import check_count
from hamdg.commands.sweeping import MOST, finish, look
from hamdg.errors import ConfigError

OPTIONS = ("--processes", "--launcher")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that are for several runs."""
    group = parser.add_argument_group(
        "several runs: a key's numbers, names or switches separated by commas (--seed 0,1,2), or --held_out all"
    )
    group.add_argument("--processes", type=int, default=None, help="runs at the same time (default: 1)")
    launching.add_arguments(group)
    parser.set_defaults(launcher_options=())


def are_asked_for(arguments: argparse.Namespace) -> bool:
    """Return whether a key of the recipe is given several values.

    Raises:
        ConfigError: If only one run is asked for, with options that are for several.
    """
    from hamdg.sweeps.lists import lists_in

    if lists_in(arguments.overrides):
        return True
    for option, value in (("--processes", arguments.processes), ("--launcher", arguments.launcher)):
        if value is not None:
            raise ConfigError(f"`{option}` is for several runs, such as those of `--seed 0,1,2`; leave it out for one.")
    return False


def run(arguments: argparse.Namespace, file: Path, overrides: Sequence[str]) -> int:
    """Make the runs, show what they say and return the exit code.

    Args:
        arguments: Those of the verb.
        file: The recipe.
        overrides: `--key=value` arguments, those that options stand for among them.

    Raises:
        SweepError: If one failed.
    """
    if arguments.print_config:
        raise ConfigError("`--print-config` prints one recipe; give each key one value.")
    if arguments.processes is not None:
        check_count("--processes", arguments.processes, MOST)

    from hamdg.runs.record import EVALUATE
    from hamdg.stages.discovery import algorithm_of
    from hamdg.stages.pipeline import check_until
    from hamdg.sweeps.jobs import jobs_of
    from hamdg.sweeps.launchers import read_launcher
    from hamdg.sweeps.lists import lists_in, sweep_of
    from hamdg.sweeps.results import check_done
    from hamdg.sweeps.sweep import run_sweep
    from hamdg.sweeps.tracking import followed

    # An empty name (`--until=$STEP` of a variable that is not set) must not open the held-out domain.
    until = EVALUATE if arguments.until is None else arguments.until
    sweep = replace(sweep_of(file, overrides, lists_in(overrides)), until=until)
    launcher = read_launcher(None, arguments.launcher, arguments.launcher_options)
    processes = arguments.processes or (1 if arguments.launcher is None else None)
    jobs = jobs_of(sweep, file, where="on the command line")
    jobs = [replace(job, force=arguments.force) for job in followed(jobs, file, None)]
    for job in jobs:
        check_until(job.recipe, algorithm_of(job.recipe).steps(), until)
    if arguments.dry_run:
        look(file, sweep, jobs, plans=True)
        return 0
    check_done(sweep, jobs)
    finish(file, sweep, jobs, run_sweep(file, sweep, processes, launcher, jobs))
    return 0
