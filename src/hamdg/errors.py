"""Errors a user can cause or meet; each message is a sentence or two that ends with the fix."""

from __future__ import annotations


class HamdgError(Exception):
    """Root of all errors that hamdg raises on purpose; the CLI prints them without a stack trace."""

    exit_code = 1


class ConfigError(HamdgError, ValueError):
    """A recipe, an override or a command-line argument is wrong."""

    exit_code = 2


class DataError(HamdgError, ValueError):
    """The data are missing, unreadable or do not fit the recipe."""

    exit_code = 2


class WeightsError(HamdgError, ValueError):
    """A weights file is missing, damaged, unsafe or made for another architecture.

    Args:
        message: The sentence.
        details: The whole list of what the sentence names a few of; the command line keeps it in a file.
    """

    exit_code = 2

    def __init__(self, message: str = "", details: str = "") -> None:
        super().__init__(message)
        self.details = details


class RunDirectoryError(HamdgError, OSError):
    """The run directory cannot be used: not writable, in use, or of another configuration."""

    exit_code = 2


class RunInUseError(RunDirectoryError):
    """The run directory is in use by another process."""


class OutputError(HamdgError, OSError):
    """What a command has to say cannot be written to its output; the files that it wrote are complete."""


class TrainingError(HamdgError, RuntimeError):
    """Training cannot go on (for instance because the loss is not a number)."""


class StorageError(HamdgError, OSError):
    """A file could not be written (disk full, quota); nothing was left half-written."""
