"""`--quiet` and `--json`, which every verb takes that prints a result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from hamdg.text import capitalized

OPTIONS = ("--quiet", "--json")
_QUIET = "print the result alone, without headings, notes and progress"
_JSON = "print the result as one JSON document on stdout, and all else on stderr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two options; `hamdg.cli` obeys them before the verb runs."""
    group = parser.add_argument_group("output")
    group.add_argument("--quiet", action="store_true", help=_QUIET)
    group.add_argument("--json", action="store_true", help=_JSON)


def add_verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    handler: Callable[[argparse.Namespace], int],
    end: str,
) -> argparse.ArgumentParser:
    """Add a verb below a command, such as `hamdg data verify`, with the two options.

    Args:
        verbs: Those that the command has.
        name: How it is called.
        text: What it does, as a phrase without a full stop.
        handler: What it runs.
        end: What stands below its options.
    """
    parser = verbs.add_parser(name, help=text, description=f"{capitalized(text)}.", epilog=end, allow_abbrev=False)
    add_arguments(parser)
    parser.set_defaults(handler=handler)
    return parser


def take(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take the two options out of arguments that another parser reads; what follows `--` is left alone."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = {name.removeprefix("--"): name in arguments[:end] for name in OPTIONS}
    rest = [argument for argument in arguments[:end] if argument not in OPTIONS]
    return argparse.Namespace(**own), [*rest, *arguments[end:]]
