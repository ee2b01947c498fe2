"""The outcomes of a sweep's runs: a line of the ledger each, and a file with the traceback of each failure."""

from __future__ import annotations

import hashlib
import json
import socket
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_type_hints

from filelock import FileLock

from hamdg import console
from hamdg.errors import HamdgError, RunDirectoryError, StorageError
from hamdg.files import explained_storage, user_path, write_text
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.sweep_file import Sweep
from hamdg.text import counted, excerpt, reason_of
from hamdg.values import check

# So many failures are listed in full.
SHOWN = 20


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
        seconds: How long it took.
    """

    job: Job
    run: str
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class LedgerEntry:
    """A line of a ledger; older ones lack the last four.

    Args:
        condition: The run's condition.
        variant: Its variant.
        held_out: Its held-out domain.
        seed: Its seed.
        run: Its directory; empty if it failed.
        error: Why it failed; empty if it is done.
        traceback: The file that holds the traceback.
        directory: Its directory in any case.
        seconds: How long it took.
        ended: When it ended, in seconds since the epoch.
        host: On which machine the sweep was.
    """

    condition: str
    variant: str
    held_out: str
    seed: int
    run: str
    error: str
    traceback: str
    directory: str = ""
    seconds: float = 0.0
    ended: float = 0.0
    host: str = ""


class Ledger:
    """The file of a sweep to which a line is appended whenever a run has ended, by any number of processes at once.

    Args:
        path: The file; tracebacks lie in the folder beside it that has its name without the suffix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Lines that several hosts append at once would overwrite each other on a network's file system.
        self._lock = FileLock(path.with_suffix(".lock"), is_singleton=False)
        self._is_full = False

    def open(self) -> None:
        """Make the file where there is none.

        Raises:
            RunDirectoryError: If it cannot be written; the message says why.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, self.path.open("a"):
                pass
        except OSError as error:
            reason = reason_of(error).lower()
            raise RunDirectoryError(
                f"Cannot write to `{self.path.parent}`: {reason}; choose another `root` in the sweep file, or "
                "`--runtime.root` of `hamdg run`."
            ) from error

    def add(self, job: Job, result: str | BaseException, seconds: float = 0.0) -> Outcome:
        """Write down and return what became of a job; the traceback of an earlier try is removed if it is done.

        Where the disk is full, the sweep goes on without the line.

        Args:
            job: The job.
            result: Its run directory or its error.
            seconds: How long it took.
        """
        outcome = self._outcome(job, result, seconds)
        try:
            with explained_storage(self.path), self._lock:
                self._append(json.dumps(asdict(_entry(outcome))))
        except (StorageError, OSError) as error:
            if not self._is_full:
                console.warning(f"what becomes of runs cannot be written down: {error}")
            self._is_full = True
        return outcome

    def _append(self, line: str) -> None:
        with self.path.open("ab+") as stream:
            # A line that a full disk or a killed process cut off stays a line of its own.
            if stream.tell() and (stream.seek(-1, 2), stream.read(1))[1] != b"\n":
                line = f"\n{line}"
            stream.write(f"{line}\n".encode())

    def _outcome(self, job: Job, result: str | BaseException, seconds: float) -> Outcome:
        """Return what became of a job; the traceback of a failed one is written to a file."""
        file = self.path.with_suffix("") / f"{'-'.join(job.directory.parts[-4:])}.txt"
        if isinstance(result, str):
            file.unlink(missing_ok=True)
            return Outcome(job, result, seconds=seconds)
        reason = reason_of_failure(result)
        try:
            write_text(file, f"{job}\n\n{''.join(traceback.format_exception(result))}")
        except OSError:
            return Outcome(job, "", reason, "", seconds)
        return Outcome(job, "", reason, str(file), seconds)

    def raise_failures(self, outcomes: Sequence[Outcome]) -> None:
        """Raise if a job failed.

        Raises:
            SweepError: The message has the failures, and names this file and those of the tracebacks.
        """
        failed = [outcome for outcome in outcomes if outcome.error]
        if not failed:
            return
        head = f"{len(failed)} of {counted(len(outcomes), 'run')} failed:"
        tail = f"All outcomes are in `{self.path}`; the same command tries what failed again."
        if len(failed) == 1:
            where = f" Its traceback is in `{failed[0].traceback}`." if failed[0].traceback else ""
            raise SweepError(f"{head} {failed[0].job}: {failed[0].error}{where} {tail}")
        lines = [line for one in failed[:SHOWN] for line in _lines(one)]
        more = [f"  and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        raise SweepError("\n".join([head, *lines, *more, tail]))


def ledger_of(sweep: Sweep, file: Path) -> Ledger:
    """Return the ledger of a sweep: another one where its file says something else."""
    digest = hashlib.sha256(repr(sweep).encode()).hexdigest()[:8]
    return Ledger(user_path(sweep.root, "root") / "sweeps" / f"{file.stem}-{digest}.jsonl")


def last_entries(ledger: Path) -> dict[str, LedgerEntry]:
    """Return the last line of every run by its directory, of a ledger and of those of its file's earlier versions."""
    found: dict[str, LedgerEntry] = {}
    stem = ledger.stem.rpartition("-")[0]
    files = [path for path in sorted(ledger.parent.glob("*.jsonl")) if path.stem.rpartition("-")[0] == stem]
    entries = [entry for path in files for entry in read_entries(path)]
    for entry in sorted(entries, key=lambda entry: entry.ended):
        name = entry.directory or entry.run
        before = found.get(name)
        # A run that was found done took no time then; what it took when it was made is kept.
        known = before.seconds if before is not None and not before.error and not entry.seconds else entry.seconds
        found[name] = replace(entry, seconds=known)
    return found


def read_entries(ledger: Path) -> list[LedgerEntry]:
    """Return the lines of a ledger, without those that are damaged."""
    try:
        text = ledger.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return list(_read(text.splitlines()))


def _read(lines: Iterable[str]) -> Iterator[LedgerEntry]:
    kinds = get_type_hints(LedgerEntry)
    for line in lines:
        with suppress(ValueError, TypeError):
            values = json.loads(line)
            if isinstance(values, dict):
                known = {name: value for name, value in values.items() if name in kinds}
                for name, value in known.items():
                    check(value, kinds[name], name)
                yield LedgerEntry(**known)


def reason_of_failure(error: BaseException) -> str:
    """Return why a job failed, as a sentence."""
    text = str(error) if isinstance(error, HamdgError) else f"{type(error).__name__}: {excerpt(error, 300)}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _lines(outcome: Outcome) -> list[str]:
    first = f"  {outcome.job}: {outcome.error}"
    return [first, f"    traceback: {outcome.traceback}"] if outcome.traceback else [first]


def _entry(outcome: Outcome) -> LedgerEntry:
    job = outcome.job
    return LedgerEntry(
        condition=job.condition,
        variant=job.variant,
        held_out=job.recipe.held_out,
        seed=job.recipe.seed,
        run=outcome.run,
        error=outcome.error,
        traceback=outcome.traceback,
        directory=str(job.directory),
        seconds=round(outcome.seconds, 3),
        ended=round(time.time(), 3),
        host=socket.gethostname(),
    )
