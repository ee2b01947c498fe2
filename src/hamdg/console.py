"""What the stages say: one line a stage, notes below it; colours only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from hamdg.wording import escaped

if TYPE_CHECKING:
    from rich.console import Console

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch `stage`, `note` and `skipped` off or on; `result` and `table` are always printed."""
    global _quiet
    _quiet = quiet


def stage(title: str) -> None:
    """Announce a stage."""
    _say(title, "bold cyan", "==> ")


def note(text: str) -> None:
    """Tell what a stage did."""
    _say(text, "", "    ")


def skipped(text: str) -> None:
    """Tell what was left out because it had been done before."""
    _say(f"skipped: {text}", "dim", "    ")


def result(text: str) -> None:
    """Print `text` as it is, even when quiet."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table with aligned columns, even when quiet; numbers are aligned to the right."""
    headers, *rows = ([escaped(cell) for cell in line] for line in (headers, *rows))
    widths = [max(len(line[column]) for line in (headers, *rows)) for column in range(len(headers))]
    numeric = [_is_numeric([row[column] for row in rows]) for column in range(len(headers))]
    lines = [title] if title else []
    for line in (headers, ["-" * width for width in widths], *rows):
        cells = zip(line, widths, numeric, strict=True)
        lines.append("  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in cells).rstrip())
    result("\n".join(lines))


@contextmanager
def progress(total: int, text: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while the block runs; nothing when quiet, or where the output is no terminal.

    Args:
        total: What there is to do.
        text: What is done, such as "pictures decoded".

    Yields:
        A function to call with how much was done since the last call.
    """
    if _quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.advance(task, done)


def _say(text: str, style: str, lead: str) -> None:
    if not _quiet:
        _console().print(f"{lead}{text}", style=style, markup=False, highlight=False, soft_wrap=True)


def _is_numeric(cells: Sequence[str]) -> bool:
    """Say whether a column holds numbers; a dash stands for one that is missing."""
    known = [cell for cell in cells if cell != "\N{EN DASH}"]
    return bool(known) and all(_is_number(cell) for cell in known)


def _is_number(cell: str) -> bool:
    return cell.strip(" %+-±.,0123456789/").lower() in ("", "e") and any(digit.isdigit() for digit in cell)


@cache
def _console() -> Console:
    from rich.console import Console

    return Console()
