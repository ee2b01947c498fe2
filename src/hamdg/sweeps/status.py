"""The states of a sweep's runs, in any process: read from run directories, their locks and ledgers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Literal, get_args

from hamdg.runs.directory import RunDirectory
from hamdg.runs.lock import holder
from hamdg.runs.record import EVALUATE
from hamdg.sweeps.jobs import Job, by_training, is_done
from hamdg.sweeps.ledger import LedgerEntry, last_entries, ledger_of
from hamdg.sweeps.sweep_file import Sweep

# `stopped`: begun, and not at work now; `waiting`: not begun.
Kind = Literal["done", "running", "failed", "stopped", "waiting"]
KINDS = get_args(Kind)


@dataclass(frozen=True)
class State:
    """How far a run of a sweep is.

    Args:
        job: The run.
        kind: What it is doing.
        reason: Why it failed.
        traceback: The file with the traceback of its failure.
        who: The process that works on it.
        since: When that process began, in seconds since the epoch.
        seconds: How long it took, if it is done and that is known.
    """

    job: Job
    kind: Kind
    reason: str = ""
    traceback: str = ""
    who: str = ""
    since: float | None = None
    seconds: float | None = None


def states_of(sweep: Sweep, file: Path, jobs: Sequence[Job]) -> list[State]:
    """Return how far each run of a sweep is; nothing is started or written.

    Args:
        sweep: The sweep.
        file: Its file.
        jobs: Its runs, or some of them.
    """
    entries = last_entries(ledger_of(sweep, file).path)
    return [state_of(job, entries) for job in jobs]


def state_of(job: Job, entries: Mapping[str, LedgerEntry]) -> State:
    """Return how far a run is.

    Args:
        job: The run.
        entries: The last line of every run in the sweep's ledgers.
    """
    path = job.directory
    entry = entries.get(str(path))
    if is_done(job):
        run = RunDirectory(path)
        if entry is not None and entry.error and run.is_done and entry.ended > run.done.stat().st_mtime:
            # It ended well, and then its files were damaged.
            return State(job, "failed", entry.error, entry.traceback)
        if job.until == EVALUATE and not run.record.is_file():
            return State(
                job, "failed", f"`{run.record}` is missing; restore it, or let `hamdg evaluate {path}` write it."
            )
        seconds = entry.seconds if entry is not None and not entry.error and entry.seconds else None
        return State(job, "done", seconds=seconds)
    if (owner := holder(path)) is not None:
        return State(job, "running", who=str(owner), since=owner.since)
    if entry is not None and entry.error:
        return State(job, "failed", entry.error, entry.traceback)
    return State(job, "stopped" if path.is_dir() else "waiting")


def counts(states: Sequence[State]) -> dict[str, int]:
    """Return how many runs are of each kind."""
    found = Counter(state.kind for state in states)
    return {kind: found[kind] for kind in KINDS}


def seconds_left(states: Sequence[State], workers: int) -> float | None:
    """Return how long the runs that are not done will take, judged by those that are; `None` where none tells.

    A run takes as long as others of its variant did, one that trains longer than one that takes over a training.

    Args:
        states: How far all runs are.
        workers: How many run at a time.
    """
    first = {numbers[0] for numbers in by_training([state.job for state in states]).values()}
    known: dict[tuple[object, ...], list[float]] = {}
    for number, state in enumerate(states):
        if state.seconds is not None:
            for key in _alike(state.job, number in first):
                known.setdefault(key, []).append(state.seconds)
    if not known:
        return None
    now, left, longest = time.time(), [], 0.0
    for number, state in enumerate(states):
        if state.kind == "done":
            continue
        times = next(known[key] for key in _alike(state.job, number in first) if key in known)
        gone = now - state.since if state.since is not None else 0.0
        left.append(max(0.0, fsum(times) / len(times) - gone))
        longest = max(longest, left[-1])
    return max(longest, fsum(left) / max(1, workers))


def _alike(job: Job, trains: bool) -> tuple[tuple[object, ...], ...]:
    """Return what is known to take as long as a run, the most alike first."""
    return ((job.origin, job.condition, trains), (job.origin, trains), (job.recipe.algorithm, trains), (trains,), ())
