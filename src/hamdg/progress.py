"""One progress of a whole run: what is done of all its parts, each weighted by the time that it is expected to take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.text import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

# How many lines a part gets where there is no bar.
LINES = 4
# The pace of a part is not told from less than this share of it, nor from less than these seconds.
_SHARE, _SECONDS = 0.02, 1.0
# How much of all the work has to be done before its pace counts for more than that of earlier runs.
_TELLING = 0.1


class Progress:
    """How far a run is: a bar on a terminal, a line at every quarter of a part elsewhere, nothing when quiet.

    Args:
        work: What every part costs, by its name in their order: seconds if `measured`, else numbers that are
            proportional to the time that is expected.
        measured: Whether these are seconds that the same parts took before.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        work: Mapping[str, float] | None = None,
        *,
        measured: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = dict(work or {})
        self._measured = measured
        self._clock = clock
        self._bar: tuple[Bar, TaskID] | None = None
        self._done = 0.0
        # Of what this process has done itself: work, and the seconds that it took.
        self._own_work = self._own_seconds = 0.0
        self._current = ""
        self._began = 0.0
        self._from: float | None = None
        self._share = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while the block runs, where there is work and a terminal."""
        if not self._work or console.is_quiet() or not sys.stderr.isatty():
            yield
            return
        from hamdg.bars import progress_bar

        bar = progress_bar(self.left)
        with console.above(bar):
            self._bar = bar, bar.add_task("", total=1.0)
            try:
                yield
            finally:
                self._bar = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count a part as done when the block ends; one that is not among the work counts nothing."""
        self._current, self._began, self._from, self._share = name, self._clock(), None, 0.0
        self._draw(name)
        yield
        work = self._work.pop(name, 0.0)
        self._done += work
        self._own_work += work * (1 - (self._from or 0.0))
        self._own_seconds += self._clock() - self._began
        self._current, self._share = "", 0.0
        self._draw(name)

    def is_line_due(self, step: int, steps: int) -> bool:
        """Return whether a line is to be printed after a step of the current part."""
        due = {max(1, steps * quarter // LINES) for quarter in range(1, LINES + 1)}
        return self._bar is None and not console.is_quiet() and step in due

    def update(self, step: int, steps: int, text: Callable[[], str] | None = None) -> None:
        """Note how far the current part is.

        Args:
            step: The steps that are done.
            steps: All of them.
            text: Says what is measured, such as the losses; asked only where it is shown.
        """
        if self._from is None:
            # A part that goes on from a checkpoint begins at its step, and what was prepared before is not its pace.
            self._from, self._began = step / steps, self._clock()
        self._share = step / steps
        if self._bar is not None:
            said = text() if text else ""
            self._draw(" | ".join([f"{self._current} {step}/{steps}", *([said] if said else [])]))
        elif text is not None and self.is_line_due(step, steps):
            parts = [f"step {step:>5}/{steps}", text(), self.left()]
            console.step(" | ".join(part for part in parts if part))

    def left(self) -> str:
        """Return a phrase on how long all that is left will take; empty as long as that is not known."""
        own = self._work.get(self._current, 0.0)
        after = sum(self._work.values()) - own
        spent, done = self._spent(), own * (self._share - (self._from or 0.0))
        here = spent / done if done >= _SHARE * own and done and spent >= _SECONDS else None
        pace = self._pace(*(0.0, 0.0) if here is None else (done, spent))
        if pace is None or not self._work:
            return ""
        rest = own * (1 - self._share) * (here or pace)
        if self._from is None:  # a part that does not say how far it is
            rest = max(0.0, rest - spent)
        guess = "" if self._measured else "at least " if after * pace > rest else "about "
        return f"{guess}{duration(rest + after * pace)} left"

    def _pace(self, done: float, spent: float) -> float | None:
        """Return the seconds that a unit of work takes: as measured in this run, else as it was before, if it was."""
        work, seconds = self._own_work + done, self._own_seconds + spent
        total = self._done + sum(self._work.values())
        if self._measured and work < _TELLING * total:
            return 1.0
        return seconds / work if work else None

    def _spent(self) -> float:
        return self._clock() - self._began if self._current else 0.0

    def _draw(self, text: str) -> None:
        if self._bar is None:
            return
        bar, task = self._bar
        total = self._done + sum(self._work.values())
        done = self._done + self._work.get(self._current, 0.0) * self._share
        bar.update(task, completed=done / total if total else 1.0, description=text)
