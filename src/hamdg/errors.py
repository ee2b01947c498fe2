"""Errors a user can cause or meet; each message is a sentence or two that ends with the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Argument:
    """An argument that a message names: `weights` in Python, `--weights` on the command line.

    Args:
        name: Its name in Python.
        noun: What stands before the name in Python.
    """

    name: str
    noun: str = ""

    def __str__(self) -> str:
        """Return the argument as Python's users know it."""
        return f"{self.noun}`{self.name}`"


class Worded:
    """A message in parts: texts, and the arguments that it names, which every interface spells in its own way."""

    args: tuple[object, ...]

    def __str__(self) -> str:
        """Return the message for Python's users."""
        return self.spelled(str)

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """Return the message with every argument spelled by a function."""
        return "".join(spell(part) if isinstance(part, Argument) else str(part) for part in self.args)


class HamdgError(Exception):
    """Root of all errors that hamdg raises on purpose; the CLI prints them without a stack trace."""

    exit_code = 1


class ConfigError(Worded, HamdgError, ValueError):
    """A recipe, an override or a command-line argument is wrong.

    Args:
        parts: The sentence, in as many parts as it takes to name arguments.
    """

    exit_code = 2

    def __init__(self, *parts: str | Argument) -> None:
        super().__init__(*parts)


class DataError(HamdgError, ValueError):
    """The data are missing, unreadable or do not fit the recipe."""

    exit_code = 2


class WeightsError(Worded, HamdgError, ValueError):
    """A weights file is missing, damaged, unsafe or made for another architecture.

    Args:
        parts: The sentence, in as many parts as it takes to name arguments.
        details: The whole list of what the sentence names a few of; the command line keeps it in a file.
    """

    exit_code = 2

    def __init__(self, *parts: str | Argument, details: str = "") -> None:
        super().__init__(*parts)
        self.details = details


class RunDirectoryError(HamdgError, OSError):
    """The run directory cannot be used: not writable, in use, or of another configuration."""

    exit_code = 2


class RunInUseError(RunDirectoryError):
    """The run directory is in use by another process."""


class OutputError(HamdgError, OSError):
    """A command cannot print its result; the files that it wrote are complete."""


class TrainingError(HamdgError, RuntimeError):
    """Training cannot go on (for instance because the loss is not a number)."""


class StorageError(HamdgError, OSError):
    """A file could not be written (disk full, quota); nothing was left half-written."""


def unexpected(argument: str, expected: str, got: object) -> ConfigError:
    """Return the error for an argument with a wrong value: what was expected, and what was given."""
    return ConfigError("Expected ", Argument(argument, "argument "), f" to be {expected}, but got `{got}`.")
