"""`hamdg sweep`: the runs of a sweep file, and what they print."""

from __future__ import annotations

import argparse

from hamdg.commands.numbers import check_count

SUMMARY = "run a grid of recipes and write its table"
_MOST = 1_024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("file", metavar="FILE", help="a sweep file, or the name of one that comes with hamdg")
    parser.add_argument("--processes", type=int, default=None, help="runs at the same time (default: one per core)")
    where = "where runs take place: `local`, or what another package brings (default: local)"
    parser.add_argument("--launcher", metavar="NAME", default="local", help=where)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the runs that the arguments ask for, show what they say and return the exit code."""
    if arguments.processes is not None:
        check_count("--processes", arguments.processes, _MOST)

    from hamdg.config.shipped import find_file
    from hamdg.sweeps import results
    from hamdg.sweeps.sweep import run_sweep
    from hamdg.sweeps.sweep_file import read_sweep

    file = find_file(arguments.file, "sweep file")
    sweep = read_sweep(file)
    results.check(sweep)
    results.show(file, sweep, run_sweep(file, sweep, arguments.processes, arguments.launcher))
    return 0
