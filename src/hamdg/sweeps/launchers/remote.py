"""Jobs that other machines do: in this process's folder, on the same files, and with errors that come back whole."""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

from hamdg.errors import RunDirectoryError

T = TypeVar("T")

# Seconds that a shared file system has to show a file that another machine wrote.
PATIENCE = 10.0
# Other machines' variables are theirs, but for those that say where hamdg finds its files.
_PREFIX = "HAMDG_"


class RemoteTracebackError(Exception):
    """The traceback of an error on another machine, as the cause of that error here."""

    def __str__(self) -> str:
        """Return it as tracebacks of other processes are shown."""
        return f'\n"""\n{self.args[0]}"""'


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What became of a job, so that it can be sent.

    Args:
        values: What the job returned, alone in a tuple; empty if it failed.
        error: Its error.
        trace: The error's traceback.
    """

    values: tuple[T, ...]
    error: Exception | None = None
    trace: str = ""

    def result(self) -> T:
        """Return what the job returned, or raise its error with the traceback from where it ran."""
        if self.error is not None:
            raise self.error from RemoteTracebackError(self.trace)
        return self.values[0]


class Witness:
    """A file that shows a job whether it sees the sweep's folder: another machine may have one of the same name.

    Args:
        folder: The folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / f".shared-{uuid4().hex}"
        self.path.touch()

    def remove(self) -> None:
        """Remove the file, when no job is left."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class RemoteJob(Generic[T]):
    """A job as it is sent to another machine.

    Args:
        job: The job.
        witness: The file that it must see.
        folder: The folder that it works in, which relative paths start from.
        variables: Environment variables.
    """

    job: Callable[[], T]
    witness: Path
    folder: str = field(default_factory=os.getcwd)
    variables: dict[str, str] = field(
        default_factory=lambda: {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    )

    def __call__(self) -> Answer[T]:
        """Do the job where this is called."""
        try:
            os.environ.update(self.variables)
            self._check_folders()
            return Answer((self.job(),))
        except Exception as error:
            return Answer((), _portable(error), traceback.format_exc())

    def _check_folders(self) -> None:
        """Go to the sweep's folder.

        Raises:
            RunDirectoryError: If this machine does not see it.
        """
        until = time.monotonic() + PATIENCE
        while not self.witness.exists():
            if time.monotonic() >= until:
                raise RunDirectoryError(self._not_shared(self.witness.parent))
            time.sleep(PATIENCE / 20)
        try:
            os.chdir(self.folder)
        except OSError:
            raise RunDirectoryError(self._not_shared(Path(self.folder))) from None

    def _not_shared(self, folder: Path) -> str:
        return (
            f"The machine `{socket.gethostname()}` does not see the sweep's folder `{folder}`; make the runs where all "
            "machines share it, or choose a `root` on a file system that they share."
        )


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent: itself, or its text where it cannot."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an error of another package does when it is copied
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
