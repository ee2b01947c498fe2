"""`--quiet` and `--json`, which every verb takes that prints a result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

OPTIONS = ("--quiet", "--json")
_QUIET = "print the result alone, without headings, notes and progress"
_JSON = "print the result as one JSON document on stdout, and all else on stderr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two options; `hamdg.cli` obeys them before the verb runs."""
    group = parser.add_argument_group("output")
    group.add_argument("--quiet", action="store_true", help=_QUIET)
    group.add_argument("--json", action="store_true", help=_JSON)


def take(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take the two options out of arguments that another parser reads; what follows `--` is left alone."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = {name.removeprefix("--"): name in arguments[:end] for name in OPTIONS}
    rest = [argument for argument in arguments[:end] if argument not in OPTIONS]
    return argparse.Namespace(**own), [*rest, *arguments[end:]]
