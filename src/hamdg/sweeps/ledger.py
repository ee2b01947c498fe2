"""What became of a sweep's runs: a line of the ledger for each, and a file with the traceback of each failure."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hamdg.errors import HamdgError, RunDirectoryError
from hamdg.files import write_text
from hamdg.runs.identity import run_directory
from hamdg.sweeps.jobs import Job
from hamdg.text import excerpt, reason_of


class SweepError(HamdgError, RuntimeError):
    """Some jobs of a sweep failed; the others are done."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        job: The job.
        run: Its run directory; empty if it failed.
        error: Why it failed, in a sentence; empty if it is done.
        traceback: The file that holds the traceback of its failure.
    """

    job: Job
    run: str
    error: str = ""
    traceback: str = ""


class Ledger:
    """The file of a sweep to which a line is appended whenever a run has ended.

    Args:
        path: The file; tracebacks lie in the folder beside it that has its name without the suffix.
        stream: The file, opened.
    """

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.path = path
        self._stream = stream

    def add(self, job: Job, result: str | BaseException) -> Outcome:
        """Write down and return what became of a job; the traceback of an earlier try is removed if it is done.

        Args:
            job: The job.
            result: Its run directory or its error.
        """
        outcome = _outcome(job, result, self.path.with_suffix(""))
        self._stream.write(json.dumps(_entry(outcome)) + "\n")
        self._stream.flush()
        return outcome

    def raise_failures(self, outcomes: Sequence[Outcome]) -> None:
        """Raise if a job failed.

        Raises:
            SweepError: The message has the first failure, and names this file and that of the traceback.
        """
        failed = [outcome for outcome in outcomes if outcome.error]
        if failed:
            first = failed[0]
            count = f"{len(failed)} of {len(outcomes)} runs failed" + ("; the first is" if len(failed) > 1 else ":")
            raise SweepError(
                f"{count} {first.job}: {first.error} Its traceback is in `{first.traceback}`, all outcomes are in "
                f"`{self.path}`; the same command tries what failed again."
            )


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """Open a ledger, and make it where there is none.

    Raises:
        RunDirectoryError: If it cannot be written; the message says why.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8")
    except OSError as error:
        reason = reason_of(error).lower()
        raise RunDirectoryError(
            f"Cannot write to `{path.parent}`: {reason}; choose another `root` in the sweep file."
        ) from error
    with stream:
        yield Ledger(path, stream)


def _outcome(job: Job, result: str | BaseException, folder: Path) -> Outcome:
    """Return what became of a job; the traceback of a failed one is written to a file, that of an earlier try removed.

    Args:
        job: The job.
        result: Its run directory or its error.
        folder: Where tracebacks are written.
    """
    run = run_directory(job.recipe)
    file = folder / f"{'-'.join(run.parts[-4:])}.txt"
    if isinstance(result, str):
        file.unlink(missing_ok=True)
        return Outcome(job, result)
    write_text(file, f"{job}\n\n{''.join(traceback.format_exception(result))}")
    return Outcome(job, "", reason_of_failure(result), str(file))


def reason_of_failure(error: BaseException) -> str:
    """Return why a job failed, as a sentence."""
    text = str(error) if isinstance(error, HamdgError) else f"{type(error).__name__}: {excerpt(error, 300)}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _entry(outcome: Outcome) -> dict[str, object]:
    job = outcome.job
    return {
        "condition": job.condition,
        "variant": job.variant,
        "held_out": job.recipe.held_out,
        "seed": job.recipe.seed,
        "run": outcome.run,
        "error": outcome.error,
        "traceback": outcome.traceback,
    }
