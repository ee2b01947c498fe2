"""`hamdg sweep`: the runs of a sweep file, and what they print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands import launching, tracking
from hamdg.commands.numbers import check_count
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.sweeps.jobs import Job
    from hamdg.sweeps.ledger import Outcome
    from hamdg.sweeps.sweep_file import Sweep

SUMMARY = "run a grid of recipes and write its table"
MOST = 1_024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("file", metavar="FILE", help="a sweep file, or the name of one that comes with hamdg")
    looks = parser.add_mutually_exclusive_group()
    plan = "list the runs, how far they are and what would be done for each; start nothing"
    looks.add_argument("--dry-run", "--dry_run", action="store_true", help=plan)
    status = "say what is done, running (on any host) and failed, and when the rest may end; start nothing"
    looks.add_argument("--status", action="store_true", help=status)
    part = "make one of N parts of the runs, such as 1/4; runs that share their training stay together"
    parser.add_argument("--shard", metavar="I/N", help=part)
    only = "make these runs alone: patterns as 'HAM*', sketch, clean, variant=HAM, held_out=sketch, seed=0, draw=3"
    parser.add_argument("--only", metavar="PATTERN", nargs="+", action="extend", help=only)
    at_once = "runs at the same time (default: one per GPU or core; all where another queue decides)"
    parser.add_argument("--processes", type=int, default=None, help=at_once)
    launching.add_arguments(parser)
    tracking.add_arguments(parser)
    parser.epilog = "Example: hamdg sweep sweeps/mini-table --dry-run"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the runs that the arguments ask for, show what they say and return the exit code."""
    if arguments.processes is not None:
        check_count("--processes", arguments.processes, MOST)

    from hamdg.config.shipped import find_file
    from hamdg.sweeps.launchers import read_launcher
    from hamdg.sweeps.sweep_file import read_sweep

    file = find_file(arguments.file, "sweep file")
    sweep = read_sweep(file)
    launcher = read_launcher(sweep.launcher, arguments.launcher, arguments.launcher_options, f"in `{file}`")

    from hamdg.sweeps.jobs import jobs_of
    from hamdg.sweeps.tracking import followed

    jobs = jobs_of(sweep, file)
    jobs = followed(jobs, file, tracking.names(arguments) or sweep.tracking)
    chosen = _chosen(jobs, arguments)
    if arguments.dry_run or arguments.status:
        look(file, sweep, chosen, arguments.dry_run)
        return 0

    from hamdg.sweeps import results
    from hamdg.sweeps.sweep import run_sweep

    results.check(sweep)
    results.check_done(sweep, chosen)
    outcomes = run_sweep(file, sweep, arguments.processes, launcher, chosen)
    _warn_of_change(file, sweep)
    finish(file, sweep, jobs, outcomes)
    return 0


def finish(file: Path, sweep: Sweep, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Show what became of runs.

    Args:
        file: The sweep file.
        sweep: What it says.
        jobs: All runs of the sweep.
        outcomes: What became of those that were to be made.

    Raises:
        SweepError: If one failed, also where the others' results cannot be shown; the message has both then.
    """
    from hamdg.sweeps import results
    from hamdg.sweeps.ledger import SweepError, ledger_of, reason_of_failure
    from hamdg.sweeps.tracking import log_table

    ledger = ledger_of(sweep, file)
    try:
        results.show(file, sweep, jobs, outcomes)
        log_table(sweep, file, jobs)
    except Exception as error:
        try:
            ledger.raise_failures(outcomes)
        except SweepError as failures:
            text = f"{failures}\nThe results of the others cannot be shown: {reason_of_failure(error)}"
            raise SweepError(text) from error
        raise
    ledger.raise_failures(outcomes)


def _chosen(jobs: list[Job], arguments: argparse.Namespace) -> list[Job]:
    """Return the runs that `--shard` and `--only` choose."""
    from hamdg.sweeps.jobs import by_training
    from hamdg.sweeps.picking import only, read_shard, shard

    if arguments.shard is not None:
        index, count = read_shard(arguments.shard)
        jobs = shard(jobs, by_training(jobs).values(), index, count)
        if not jobs:
            raise ConfigError(f"`--shard={arguments.shard}` has no runs: fewer trainings are left than parts.")
    return only(jobs, arguments.only) if arguments.only else jobs


def look(file: Path, sweep: Sweep, jobs: Sequence[Job], plans: bool) -> None:
    """Print what would be done for runs, or how far they are."""
    from hamdg.config.shipped import public_name
    from hamdg.sweeps.ledger import ledger_of
    from hamdg.sweeps.overview import show_plan, show_status
    from hamdg.sweeps.plan import todos
    from hamdg.sweeps.status import states_of

    name, ledger, states = public_name(file), ledger_of(sweep, file).path, states_of(sweep, file, jobs)
    if plans:
        show_plan(name, ledger, todos(states))
    else:
        show_status(name, ledger, states)


def _warn_of_change(file: Path, sweep: Sweep) -> None:
    """Say so where a sweep's file says something else than when it began."""
    from hamdg.sweeps.sweep_file import read_sweep

    try:
        is_same = read_sweep(file) == sweep
    except ConfigError:
        is_same = False
    if not is_same:
        console.warning(
            f"`{file}` says something else now than when this sweep began, which its tables belong to; repeat the "
            "command for what it says now."
        )
