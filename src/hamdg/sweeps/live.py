"""What a sweep shows while it runs: one table on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.sweeps.ledger import Outcome
from hamdg.sweeps.status import State, counts, seconds_left
from hamdg.text import duration, escaped

if TYPE_CHECKING:
    from rich.console import Group

# Failures that the table shows; all are listed at the end.
_FAILURES = 5
_RUNNING = 24


@dataclass
class SweepProgress:
    """How far the runs of a sweep are, as this process knows it.

    Args:
        name: What the sweep is called.
        states: How far each run is, at first as it was found.
        workers: How many run here at a time.
        started: When the sweep began, by `time.monotonic`.
        begun: When runs that are at work here began, by their numbers.
        outcomes: What became of runs, by their numbers.
        postponed: The runs that another process was found to work on.
    """

    name: str
    states: list[State]
    workers: int
    started: float = field(default_factory=time.monotonic)
    begun: dict[int, float] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    postponed: set[int] = field(default_factory=set)

    def begin(self, number: int) -> None:
        """Note that a run begins here."""
        self.begun[number] = time.time()
        self.postponed.discard(number)
        self.states[number] = State(self.states[number].job, "running", since=self.begun[number])

    def postpone(self, number: int) -> None:
        """Note that another process works on a run."""
        self.begun.pop(number, None)
        self.postponed.add(number)
        self.states[number] = State(self.states[number].job, "waiting")

    def seconds_of(self, number: int) -> float:
        """Return how long a run has been at work here."""
        return time.time() - self.begun[number] if number in self.begun else 0.0

    def finish(self, number: int, outcome: Outcome) -> None:
        """Note what became of a run."""
        self.begun.pop(number, None)
        self.outcomes[number] = outcome
        job = self.states[number].job
        if outcome.error:
            self.states[number] = State(job, "failed", outcome.error, outcome.traceback)
        else:
            known = outcome.seconds or self.states[number].seconds
            self.states[number] = State(job, "done", seconds=known)

    @property
    def left(self) -> float | None:
        """How many seconds the rest will take; `None` where nothing tells."""
        open_states = [state for state in self.states if state.kind != "failed"]
        return seconds_left(open_states, self.workers)

    def line(self, number: int) -> str:
        """Return what became of a run as a line, with how long it took and what is left."""
        outcome = self.outcomes[number]
        head = f"{len(self.outcomes)}/{len(self.states)}"
        if outcome.error:
            return f"{head} failed: {outcome.job}: {outcome.error}"
        took = [duration(outcome.seconds)] if outcome.seconds else []
        left = [f"about {duration(self.left)} left"] if self.left and len(self.outcomes) < len(self.states) else []
        more = f" ({', '.join(took + left)})" if took or left else ""
        return f"{head} done: {outcome.job}{more}"


@contextmanager
def shown(progress: SweepProgress) -> Iterator[None]:
    """Show a sweep's progress on a terminal while the block runs; nothing elsewhere, and nothing when quiet."""
    if not is_live():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    with Live(
        console=Console(stderr=True),
        get_renderable=lambda: drawn(progress),
        refresh_per_second=2,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    ):
        yield
    console.note(summary(progress.states, time.monotonic() - progress.started, None))


def is_live() -> bool:
    """Return whether progress is shown as one table that changes."""
    return sys.stderr.isatty() and not console.is_quiet()


def drawn(progress: SweepProgress) -> Group:
    """Return the table of a sweep's progress."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, total = len(progress.outcomes), len(progress.states)
    failed = [one for one in progress.outcomes.values() if one.error]
    head = Table.grid(padding=(0, 2))
    facts = summary(progress.states, time.monotonic() - progress.started, progress.left)
    head.add_row(Text(escaped(progress.name), style="bold"), ProgressBar(total, done, width=24), Text(facts))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("running here", "condition", "held out", "seed", "for"):
        table.add_column(name, header_style="dim", justify="right" if name in ("seed", "for") else "left")
    for number in list(progress.begun)[:_RUNNING]:
        job = progress.states[number].job
        cells = (job.variant, job.condition, job.recipe.held_out, str(job.recipe.seed))
        table.add_row(*(Text(escaped(cell)) for cell in (*cells, duration(progress.seconds_of(number)))))
    lines = [
        Text(escaped(f"failed: {one.job}: {one.error}"), style="red", no_wrap=True, overflow="ellipsis")
        for one in failed[-_FAILURES:]
    ]
    waiting = [Text(f"{len(progress.postponed)} with another process", style="dim")] if progress.postponed else []
    return Group(head, *([table] if progress.begun else []), *lines, *waiting)


def summary(states: Sequence[State], elapsed: float | None, left: float | None) -> str:
    """Return how many runs are how far, the time that has gone and the estimated end, as a line."""
    found = counts(states)
    parts = [f"{count} {kind}" for kind, count in found.items() if count]
    parts += [f"elapsed {duration(elapsed)}"] if elapsed is not None else []
    if left is not None and found["done"] + found["failed"] < len(states):
        end = time.strftime("%H:%M" if left < 20 * 3600 else "%Y-%m-%d %H:%M", time.localtime(time.time() + left))
        parts.append(f"about {duration(left)} left, until {end}")
    return ", ".join(parts)
