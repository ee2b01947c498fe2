"""What commands print: one heading a step, notes below it; colors only on a terminal.

No output ends a run: what the output's encoding lacks is written in other characters, control sequences are escaped,
and once the output is full or closed the run goes on in silence. Only `result`, `table` and `result_json` report that.

A verb prints its result twice, as text (`result`, `table`) and as a value (`result_json`); `output` chooses.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from hamdg import text_table
from hamdg.errors import OutputError
from hamdg.json_text import json_text
from hamdg.text import escaped, reason_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_quiet = False
# Where the one JSON document of a command goes, if it is to print JSON.
_document: TextIO | None = None
# The bar that stands at the bottom of the terminal now.
_bar: Progress | None = None
# Why the output can take no more.
_lost: OSError | None = None
_PLAIN = dict(zip("\N{EN DASH}\N{MINUS SIGN}\N{MIDDLE DOT}\N{BOX DRAWINGS LIGHT HORIZONTAL}", "----", strict=True))
_PLAIN |= {"\N{PLUS-MINUS SIGN}": "+-", "\N{HORIZONTAL ELLIPSIS}": "..."}


def open_streams() -> None:
    """Prepare stdout and stderr: closed ones take nothing, and no character is too much for their encoding."""
    global _lost
    _lost = None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # of a stream whose file was exchanged beneath it
                stream.reconfigure(errors=_PLAINLY)


def flush() -> None:
    """Write out what is still in stdout's buffer.

    Raises:
        BrokenPipeError: If the reader of the output has gone.
        OutputError: If it cannot be written for another reason.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        lose(error)
    if _lost is not None:
        _complain(_lost, "")


def complain(text: str) -> None:
    """Print a message for the user on stderr, if that takes any."""
    with suppress(OSError):
        print(escaped(text, keep="\n"), file=sys.stderr, flush=True)


@contextmanager
def output(*, quiet: bool = False, as_json: bool = False) -> Iterator[None]:
    """Choose what is printed while the block runs; what is chosen already stays.

    Args:
        quiet: Leave out headings, notes and progress.
        as_json: Print nothing on stdout but what `result_json` gets; headings, notes and whatever else is printed go to
            stderr, and text results are left out.
    """
    global _quiet, _document
    before = _quiet, _document
    _quiet = _quiet or quiet
    try:
        if as_json and _document is None:
            _document = sys.stdout
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield
    finally:
        _quiet, _document = before


def is_quiet() -> bool:
    """Return whether headings, notes and progress are left out."""
    return _quiet


def wants_json() -> bool:
    """Return whether the result is to be printed as JSON."""
    return _document is not None


def heading(title: str) -> None:
    """Print the title of what begins now."""
    _say(title, "bold cyan", "==> ")


def note(text: str) -> None:
    """Print a line on what was done."""
    _say(text, "", "    ")


def skipped(text: str) -> None:
    """Print what was left out because it had been done before."""
    _say(f"skipped: {text}", "dim", "    ")


def step(text: str) -> None:
    """Print how far a training is."""
    _say(text, "", "  ")


def result(text: str, kept: str = "") -> None:
    """Print `text`, even when quiet; nothing where JSON is wanted.

    Args:
        text: The text.
        kept: What is safe in files even if the text cannot be printed: "the run is done".

    Raises:
        BrokenPipeError: If the reader of the output has gone, and nothing is `kept`.
        OutputError: If it cannot be written.
    """
    if _document is not None:
        return
    if _lost is None:
        _print(text, "")
    if _lost is not None:
        _complain(_lost, kept)


def result_json(value: Mapping[str, object], kept: str = "") -> None:
    """Print the result of a command as its one JSON document, where JSON is wanted; nothing elsewhere.

    Args:
        value: The result, its numbers not rounded.
        kept: What is safe in files even if it cannot be printed.

    Raises:
        BrokenPipeError: If the reader of the output has gone, and nothing is `kept`.
        OutputError: If it cannot be written.
    """
    if _document is None:
        return
    try:
        print(json_text(value), file=_document, flush=True)
    except OSError as error:
        _discard(_document)
        _complain(error, kept)


def warning(text: str) -> None:
    """Print what a user must not miss to the standard error stream, even when quiet."""
    complain(f"hamdg: warning: {text}")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table, even when quiet, but not where JSON is wanted; numbers are aligned to the right.

    A terminal gets one that fits its width; anything else gets plain aligned columns, one row a line, so that what is
    piped or kept looks the same everywhere.
    """
    if _document is not None:
        return
    headers, *rows = ([escaped(cell) for cell in line] for line in (headers, *rows))
    if _lost is None and _console().is_terminal:
        _draw(headers, rows, title)
    else:
        result("\n".join(([title] if title else []) + text_table.aligned(headers, rows)))


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    drawn = text_table.drawn(headers, rows)
    try:
        if title:
            _console().print(escaped(title, keep="\n"), style="bold", markup=False, highlight=False)
        _console().print(drawn)
    except OSError as error:
        lose(error)
    if _lost is not None:
        _complain(_lost, "")


@contextmanager
def progress(total: int, text: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while the block runs; nothing when quiet, or where the output is not a terminal.

    Args:
        total: What there is to do.
        text: What is done, such as "images decoded".

    Yields:
        A function to call with how much was done since the last call.
    """
    if _quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    if _bar is not None:
        bar, task = _bar, _bar.add_task(escaped(text), total=total)
        try:
            yield lambda done: bar.advance(task, done)
        finally:
            bar.remove_task(task)
        return
    from hamdg.bars import progress_bar

    with above(progress_bar()) as bar:
        task = bar.add_task(escaped(text), total=total)
        yield lambda done: bar.advance(task, done)


@contextmanager
def above(bar: Progress) -> Iterator[Progress]:
    """Show a bar at the bottom of the terminal while the block runs; what is printed meanwhile stands above it."""
    global _bar
    with bar:
        _bar = bar
        try:
            yield bar
        finally:
            _bar = None


def _say(text: str, style: str, lead: str) -> None:
    if not _quiet and _lost is None:
        _print(f"{lead}{text}", style)


def _print(text: str, style: str) -> None:
    try:
        _console().print(escaped(text, keep="\n"), style=style, markup=False, highlight=False, soft_wrap=True)
    except OSError as error:
        if _document is None:  # else these are notes on stderr, and the result can still be printed
            lose(error)


def lose(error: OSError) -> None:
    """Remember why the output takes no more, and let nothing fail that is written to it from now on."""
    global _lost
    _lost = _lost or error
    _console.cache_clear()  # rich keeps what it could not write
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    """Let whatever is written to a stream from now on go nowhere."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def _complain(error: OSError, kept: str) -> NoReturn:
    if isinstance(error, BrokenPipeError) and not kept:
        raise error
    reason = reason_of(error).lower()
    raise OutputError(f"The output cannot be written: {reason}; {kept or 'files that were written are complete'}.")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one, one.encode("unicode_escape").decode()) for one in characters), error.end


_PLAINLY = "hamdg.plainly"
codecs.register_error(_PLAINLY, _plainly)


@cache
def _console() -> Console:
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the caller, where rich would end the process."""
            raise

    return Output()
