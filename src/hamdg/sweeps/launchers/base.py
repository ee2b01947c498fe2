"""The interface of launchers: options, and an executor that makes the runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from hamdg.errors import HamdgError


class JobLostError(HamdgError, RuntimeError):
    """What made a run ended before the run did: a process was killed, a machine went down."""


@dataclass(frozen=True)
class Launcher(ABC):
    """Where the runs of a sweep take place; the fields of a subclass are the options that users give it.

    A field has a default and a type of `hamdg.values`, and the class's docstring says what it means.
    """

    def workers(self) -> int | None:
        """Return how many runs take place at a time where `--processes` does not say; `None` for all of them."""
        return None

    def threads(self, workers: int | None) -> int:
        """Return how many CPU threads each of so many runs gets; 0 for as many as it finds where it takes place."""
        return 0

    def check(self) -> None:
        """Check options together, where they are read: nothing has been started or asked then, not even for a dry run.

        Raises:
            ConfigError: If they cannot be right.
        """
        return

    @abstractmethod
    def start(self, workers: int, folder: Path) -> Executor:
        """Return an executor that does up to `workers` jobs at a time.

        A job is a function without arguments that can be pickled. Whichever process calls it makes one run and returns
        the run's directory, so that process has to see the same folders as this one. A job that raises is a failed run:
        its future holds the very error, and the executor goes on with others. A job whose process dies is one, too: its
        future holds a `JobLostError`. `shutdown(cancel_futures=True)` ends what is under way; it resumes another time.

        Args:
            workers: How many jobs it is given at most before one of them has ended.
            folder: A folder for files of its own, beside the ledgers of sweeps; it exists.

        Raises:
            ConfigError: If something is missing or cannot be reached; the message says what to do.
        """
