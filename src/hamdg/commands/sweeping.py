"""`hamdg sweep`: the runs of a sweep file, and what they print."""

from __future__ import annotations

import argparse

from hamdg.commands import launching
from hamdg.commands.numbers import check_count

SUMMARY = "run a grid of recipes and write its table"
_MOST = 1_024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("file", metavar="FILE", help="a sweep file, or the name of one that comes with hamdg")
    at_once = "runs at the same time (default: one per GPU or core; all where another queue decides)"
    parser.add_argument("--processes", type=int, default=None, help=at_once)
    launching.add_arguments(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the runs that the arguments ask for, show what they say and return the exit code."""
    if arguments.processes is not None:
        check_count("--processes", arguments.processes, _MOST)

    from hamdg.config.shipped import find_file
    from hamdg.sweeps import results
    from hamdg.sweeps.launchers import read_launcher
    from hamdg.sweeps.sweep import run_sweep
    from hamdg.sweeps.sweep_file import read_sweep

    file = find_file(arguments.file, "sweep file")
    sweep = read_sweep(file)
    launcher = read_launcher(sweep.launcher, arguments.launcher, arguments.launcher_options, f"in `{file}`")
    results.check(sweep)
    results.show(file, sweep, run_sweep(file, sweep, arguments.processes, launcher))
    return 0
