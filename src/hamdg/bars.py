"""Bars on a terminal: how much is done, how long it took and will take, and what is going on."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from hamdg.text import duration

# Characters of a bar's line: what bar and times take, and what its text gets even on the narrowest terminal.
_BAR_AND_TIMES, _NARROWEST = 58, 16


def progress_bar(left: Callable[[], str] | None = None) -> Progress:
    """Return a bar on the standard error stream, gone when it ends: how much is done, the times, its text.

    Args:
        left: Says how long the first task will still take, where rich is not to guess; its share is shown in percent.
    """

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            if left is not None and task.id == 0:
                return Text(left())
            return Text("" if task.time_remaining is None else f"{duration(task.time_remaining)} left")

    console = Console(stderr=True)
    # Of a long text the end is cut off; the bar and the times stay.
    room = Column(no_wrap=True, overflow="ellipsis", max_width=max(_NARROWEST, console.width - _BAR_AND_TIMES))
    text = TextColumn("{task.description}", markup=False, table_column=room)
    # A stdout that is a file is not for the terminal.
    redirect = sys.stdout.isatty()
    return Progress(
        *(BarColumn(20), MofNCompleteColumn() if left is None else TaskProgressColumn()),
        *(TimeElapsedColumn(), Left(), text),
        console=console,
        transient=True,
        redirect_stdout=redirect,
    )
