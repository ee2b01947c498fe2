"""The option `--tracking` of verbs that make runs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hamdg.config.recipe import Recipe


OPTION = "--tracking"


def add_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the option."""
    what = "follow runs with these loggers beside metrics.csv: wandb, tensorboard, mlflow, package.module.Class, ..."
    parser.add_argument(OPTION, metavar="NAME[,NAME]", help=what)


def names(arguments: argparse.Namespace) -> list[str]:
    """Return the loggers that the option names; none where it is not given.

    Raises:
        ConfigError: If it is given and names none.
    """
    from hamdg.config.tracking import names_in

    given: str | None = arguments.tracking
    return [] if given is None else names_in(given)


def overrides(arguments: argparse.Namespace) -> list[str]:
    """Return what the option says as an override of a recipe; nothing where it is not given.

    Raises:
        ConfigError: If it is given and names no logger.
    """
    found = names(arguments)
    return [f"--tracking.loggers={json.dumps(found)}"] if found else []


def check(recipe: Recipe) -> None:
    """Check that all loggers exist and their packages are installed, before anything is loaded.

    Raises:
        ConfigError: If one does not.
    """
    from hamdg.config.tracking import check_loggers

    check_loggers(recipe.tracking)
