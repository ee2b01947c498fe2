"""The verbs of `hamdg`; nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hamdg import __version__, console
from hamdg.commands import (
    completion,
    dashboard,
    launching,
    output,
    recipes,
    records,
    reporting,
    running,
    sweeping,
    table,
    tracking,
)
from hamdg.commands.data import verbs as data
from hamdg.commands.merging import verb as merge
from hamdg.errors import ConfigError, HamdgError, OutputError, StorageError
from hamdg.text import capitalized, did_you_mean, listed

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

INTERRUPTED = 130
# What only the place of a file is to blame for, wherever it is met.
_ENVIRONMENT = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)

# The verbs that take recipe keys, with their own options.
_OPTIONS = {
    verb: (*own, *output.OPTIONS)
    for verb, own in {"run": running.OPTIONS, "evaluate": (tracking.OPTION,), **data.OPTIONS}.items()
}

# The verbs that make many runs.
_LAUNCHING = ("run", "sweep")

# The verbs that have commands.
_WITH_COMMANDS = (["data"], ["records"])


class _Formatter(argparse.HelpFormatter):
    """A formatter that leaves room for the longest verb."""

    def add_argument(self, action: argparse.Action) -> None:
        """Add an argument, verbs with their indentation."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            longest = max(map(len, action.choices))
            self._action_max_length = max(self._action_max_length, longest + 2 * self._indent_increment + 1)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `ConfigError`s with the nearest valid name."""

    # Says more at the end of the help, only where help is asked for.
    further: Callable[[], str] | None = None

    def format_help(self) -> str:
        """Return the help, and what there is further."""
        return super().format_help() + (f"\n{self.further()}" if self.further else "")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`.")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        try:
            (file or sys.stdout).write(message)
        except OSError as error:  # argparse would pass it over
            console.lose(error)

    def _check_value(self, action: argparse.Action, value: str) -> None:
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            hint = did_you_mean(value, choices, f"it can be {listed(choices)}.")
            raise ConfigError(f"There is no {str(action.metavar).lower()} `{value}`; {hint}")


def program() -> NoReturn:
    """Run the command line as the program of this process; after Ctrl-C the prompt is back at once."""
    code = 1

    def leave() -> None:
        if code == INTERRUPTED:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # Registered first, so that it runs last: Python would look through all of torch's objects once more.
    atexit.register(leave)
    code = main()
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        0 when done, 1 when the run failed, 2 for wrong usage or configuration, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    console.open_streams()
    # Threads that spin while they wait starve whatever else runs on the same cores; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = _dispatch(arguments)
        console.flush()
        return code
    except HamdgError as error:
        console.complain(f"hamdg: error: {error}")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        where = f" {interrupt}" if str(interrupt) else ""
        console.complain(f"\nhamdg: stopped{where}; repeat the same command to go on from the last checkpoint.")
        return INTERRUPTED
    except BrokenPipeError as error:  # the reader of a pipe (`hamdg data list | head`) has gone
        console.lose(error)
        return 1
    except OSError as error:
        known = _known(error)
        if known is None:
            raise
        console.complain(f"hamdg: error: {known}")
        return known.exit_code


def _known(error: OSError) -> HamdgError | None:
    """Return what an unexpected error of the system means; `None` if it is a bug."""
    if error.filename is not None and error.errno in _ENVIRONMENT:
        return ConfigError(f"`{os.fsdecode(error.filename)}`: {(error.strerror or '').lower()}.")
    if error.filename is None and error.errno in (*_FULL, errno.EIO, errno.EBADF):
        try:
            console.flush()
        except OutputError as lost:
            return lost
    if error.errno in _FULL:  # loggers of other packages write files of their own
        what = "a file" if error.filename is None else f"`{os.fsdecode(error.filename)}`"
        reason = (error.strerror or "").lower()
        return StorageError(f"Cannot write {what}: {reason}; free some space, then repeat the command.")
    return None


def _dispatch(arguments: list[str]) -> int:
    parser = _build_parser(arguments)
    overrides: list[str] = []
    verb = " ".join(arguments[:2] if arguments[:1] in _WITH_COMMANDS else arguments[:1])
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    if verb == "merge" and not asks_for_help:
        chosen, rest = output.take(arguments[1:])
        with console.output(quiet=chosen.quiet, as_json=chosen.json):
            return merge.main(rest)
    launcher_options: list[str] = []
    if verb in _LAUNCHING:
        launcher_options, arguments = launching.split_options(arguments)
    if verb in _OPTIONS and not asks_for_help:
        from hamdg.config.parsing import split_overrides

        overrides, rest = split_overrides(arguments[len(verb.split()) :], _OPTIONS[verb], f"hamdg {verb}")
        arguments = [*verb.split(), *rest]
    if not arguments:
        parser.print_help()
        return 2
    try:
        parsed, surplus = parser.parse_known_args(arguments)
    except SystemExit as leaving:  # after --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0
    if surplus:
        program = parser.prog if arguments[0].startswith("-") else f"{parser.prog} {verb}"
        raise ConfigError(f"unrecognized arguments: {shlex.join(surplus)}; see `{program} --help`.")
    parsed.overrides, parsed.launcher_options = overrides, launcher_options
    handler: Callable[[argparse.Namespace], int] = parsed.handler
    with console.output(quiet="quiet" in parsed and parsed.quiet, as_json="json" in parsed and parsed.json):
        return handler(parsed)


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hamdg",
        description="Domain generalization by merging: one CLIP per source domain, their histories merged into one.",
        allow_abbrev=False,
        formatter_class=_Formatter,
        epilog="Begin with `hamdg run mini/ham`; `hamdg VERB --help` says more, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"hamdg {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    run = _verb(verbs, "run", running.SUMMARY)
    running.add_arguments(run)
    run.further = partial(running.key_help, arguments[1:])

    merge.add_arguments(_verb(verbs, "merge", merge.SUMMARY))

    evaluate = _verb(verbs, "evaluate", "evaluate a finished run again; writes its record and page again", _evaluate)
    evaluate.add_argument("run", type=Path, metavar="RUN", help="a run directory below lightning_logs/")
    tracking.add_arguments(evaluate)
    evaluate.epilog = (
        "Further arguments: keys of the sections evaluate, runtime and tracking, as --evaluate.lines=9. "
        "Example: hamdg evaluate lightning_logs/mini/art_painting/ham/seed0-f3e5e4e7"
    )

    sweep = _verb(verbs, "sweep", sweeping.SUMMARY)
    sweeping.add_arguments(sweep)
    sweep.further = launching.option_help

    table.add_arguments(_verb(verbs, "table", table.SUMMARY))

    reporting.add_arguments(_verb(verbs, "report", reporting.SUMMARY))

    dashboard.add_arguments(_verb(verbs, "dashboard", dashboard.SUMMARY))
    recipes.add_arguments(_verb(verbs, "recipes", recipes.SUMMARY))
    records.add_arguments(_verb(verbs, "records", records.SUMMARY, prints=False))
    data.add_arguments(_verb(verbs, "data", "list, verify, decode and draw images; compare sources", prints=False))
    completing = _verb(verbs, "completion", completion.SUMMARY, prints=False)
    completion.add_arguments(completing, partial(_build_parser, ()))
    doctor = _verb(verbs, "doctor", "say what is installed, what fits together and what is missing", _doctor)
    doctor.epilog = "Exit code 1: something that hamdg needs is broken. Example: hamdg doctor"
    return parser


def _verb(
    verbs: argparse._SubParsersAction[_Parser],
    name: str,
    text: str,
    handler: Callable[[argparse.Namespace], int] | None = None,
    prints: bool = True,
) -> _Parser:
    """Add a verb; with the options on what it prints, unless it has commands that do."""
    parser = verbs.add_parser(name, help=text, description=f"{capitalized(text)}.", allow_abbrev=False)
    if prints:
        output.add_arguments(parser)
    if handler is not None:
        parser.set_defaults(handler=handler)
    return parser


def _evaluate(arguments: argparse.Namespace) -> int:
    from hamdg.stages import repeating

    repeating.reevaluate(arguments.run, [*arguments.overrides, *tracking.overrides(arguments)])
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from hamdg.doctor import doctor

    return doctor()
