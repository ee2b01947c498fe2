"""Pages in Markdown: escaped texts, and a part of the page for each sweep."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hamdg.errors import DataError
from hamdg.files import write_text
from hamdg.text import escaped

HEADING = "# Results\n"
# An underscore between letters or digits means nothing.
_ACTIVE = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_BREAKING = re.compile(r"[<>]|[^\S ]")
_MARKER = re.compile(r"<!-- (begin|end): (.*?) -->")


def plain(text: str) -> str:
    """Return a text as Markdown that shows just it: on one line, without markup, HTML or links."""
    line = escaped(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\g<0>", line)


def fenced(text: str) -> str:
    """Return a text as a block of code, whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{escaped(text)}\n{fence}"


def table(head: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table of plain texts.

    Args:
        head: The columns' names.
        body: The lines.
        left: How many columns, from the first, hold words and not numbers.
    """
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join(
        line_of(line) for line in ([plain(name) for name in head], rule, *([plain(c) for c in line] for line in body))
    )


def line_of(cells: Sequence[str]) -> str:
    """Return one line of a table, whose cells are Markdown."""
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Part:
    """What a part of a page is, besides its figures.

    Args:
        name: Whose part it is: the path of the sweep file, as its command gives it.
        title: Its heading.
        command: The command that makes all its runs and writes it.
        intro: Markdown that comes before the tables.
    """

    name: str
    title: str
    command: str
    intro: str = ""


def write_part(page: Path, name: str, text: str) -> Path:
    """Write one part of a page in place of its old one; a page without it gets it at the end.

    Args:
        page: The page; made when it is missing.
        name: Whose part it is.
        text: The new part, without markers.

    Raises:
        DataError: If the page's markers are damaged, so that it is unclear what may be replaced, or the text has some.
    """
    begin, end = _marker("begin", name), _marker("end", name)
    part = f"{begin}\n\n{text.strip()}\n\n{end}"
    if (own := _MARKER.search(text)) is not None:
        raise DataError(f"The part of `{name}` holds `{own[0]}`, which tells parts apart; take it out of its `intro`.")
    with _alone_in(page.parent):
        old = _text_of(page)
        _check_markers(page, old)
        before, found, rest = old.partition(begin)
        new = before + part + rest.partition(end)[2] if found else f"{old.rstrip()}\n\n{part}\n"
        write_text(page, new)
    return page


def check_page(page: Path) -> None:
    """Raise what `write_part` would raise about the page as it is.

    Raises:
        DataError: If the page is not text, or its markers are damaged.
    """
    _check_markers(page, _text_of(page))


def _text_of(page: Path) -> str:
    # Line ends stay as they are: only one part of the page is ours.
    try:
        return page.read_bytes().decode() if page.exists() else HEADING
    except UnicodeDecodeError:
        raise DataError(f"The page `{page}` is not a text in UTF-8; move it away, or name another one.") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other sweeps from writing pages in a folder: of two that read the same page, one would lose its part."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        # On the folder itself, so that no lock file is left among documents; given back when the handle is closed.
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _marker(kind: str, name: str) -> str:
    # A comment ends at the first `-->`, and a name of several lines would not be found again.
    return f"<!-- {kind}: {_BREAKING.sub(lambda found: quote(found[0]), name)} -->"


def _check_markers(page: Path, text: str) -> None:
    """Refuse a page whose parts do not begin and end in turn, or that has a part twice."""
    opened, done = "", set[str]()
    for kind, name in _MARKER.findall(text):
        if kind == "begin" and not opened and name not in done:
            opened = name
        elif kind == "end" and opened == name:
            done.add(name)
            opened = ""
        else:
            raise DataError(_damaged(page, kind, name))
    if opened:
        raise DataError(_damaged(page, "begin", opened))


def _damaged(page: Path, kind: str, name: str) -> str:
    return (
        f"The parts of `{page}` are not clear at its marker `{_marker(kind, name)}`: every part needs one `begin` and, "
        "before the next part, one `end`. Mend or remove the markers, then repeat the command; finished runs are "
        "skipped."
    )
