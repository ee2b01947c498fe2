"""Parts of a page of results: each belongs to one sweep, which writes its own and leaves the others as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hamdg.errors import DataError
from hamdg.files import write_text

HEADING = "# Results\n"


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
        DataError: If the page's markers are damaged, so that it is unclear what may be replaced.
    """
    begin, end = _marker("begin", name), _marker("end", name)
    part = f"{begin}\n\n{text.strip()}\n\n{end}"
    # Line ends stay as they are: only this part of the page is ours.
    old = page.read_bytes().decode() if page.exists() else HEADING
    _check_markers(page, old)
    before, found, rest = old.partition(begin)
    new = before + part + rest.partition(end)[2] if found else f"{old.rstrip()}\n\n{part}\n"
    write_text(page, new)
    return page


def _marker(kind: str, name: str) -> str:
    return f"<!-- {kind}: {name} -->"


def _check_markers(page: Path, text: str) -> None:
    """Refuse a page whose parts do not begin and end in turn, or that has a part twice."""
    opened, done = "", set[str]()
    for kind, name in re.findall(r"<!-- (begin|end): (.*?) -->", text):
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
