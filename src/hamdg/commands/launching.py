"""`--launcher NAME --launcher.NAME.OPTION=VALUE`: where the runs of a command execute."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from hamdg.errors import ConfigError

_PREFIX = "--launcher."


def add_arguments(parser: argparse._ActionsContainer) -> None:
    """Add `--launcher` to a verb; its options are split off before arguments are parsed."""
    where = "where runs take place: local, ray, slurm, or what another package brings (default: local)"
    parser.add_argument("--launcher", metavar="NAME", help=where)
    parser.set_defaults(launcher_options=())


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the options of launchers from a verb's other arguments.

    Returns:
        The options, each as `--launcher.NAME.OPTION=VALUE`, and all other arguments.

    Raises:
        ConfigError: If an option has no value.
    """
    options, others, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith(_PREFIX):
            others.append(argument)
            continue
        if "=" not in argument:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"`{argument}` needs a value; write `{argument}=VALUE`.")
            argument = f"{argument}={rest.pop(0)}"
        options.append(argument)
    return options, others


def option_help() -> str:
    """Return the options of all launchers, for the help of a verb."""
    from hamdg.sweeps.launchers.choice import launcher_names, options_of
    from hamdg.values import describe, yaml_name

    blocks = []
    for name in launcher_names():
        try:
            options = options_of(name)
        except ConfigError:  # a broken package is reported where its launcher is used
            continue
        lines = [f"options of --launcher {name}:" if options else f"--launcher {name} has no options"]
        for option in options:
            default = "" if option.default is None else f", by default {yaml_name(option.default)}"
            what = f"{describe(option.kind)}{default}. {option.text}"
            lines += [f"  {option.flag}", textwrap.indent(textwrap.fill(what, 100), " " * 6)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
