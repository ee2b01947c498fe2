"""The lines of list files: paths with a label each, or a CSV with the columns path, class and domain."""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hamdg.data.benchmark import Lists
from hamdg.data.folders.layout import printable
from hamdg.errors import DataError
from hamdg.text import excerpt, listed, reason_of

CSV = ".csv"
ENDINGS = (".txt", CSV)
COLUMNS = "the columns path, class and domain"


class Line(NamedTuple):
    """What one line names.

    Args:
        number: Its number in the file, from 1.
        path: The image's path relative to the root, normalized.
        label: The name of its class, or a number.
        domain: The name of its domain; `None` where the path names it.
    """

    number: int
    path: str
    label: str
    domain: str | None


@dataclass(frozen=True)
class ListFile:
    """A list file.

    Args:
        path: Where it is.
        lines: Its lines, without empty ones, read one by one.
        numbered: Whether digits in the place of a label are numbers of classes, and not names.
    """

    path: Path
    lines: Iterator[Line]
    numbered: bool

    def wrong(self, line: Line, text: str) -> DataError:
        """Return the error about a line."""
        return wrong(self.path, line.number, text)


def read_files(lists: Lists) -> Iterator[ListFile]:
    """Yield the list files in the order of their names.

    Raises:
        DataError: If there are none, one cannot be read, or a line of one is not what it should be.
    """
    for path in list_files(lists):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(f"`data.lists`: `{printable(path)}` cannot be read ({reason_of(error)}).") from error
        except UnicodeDecodeError as error:
            raise DataError(f"`data.lists`: `{printable(path)}` is not text in UTF-8; save it as that.") from error
        is_table = path.suffix.lower() == CSV
        rows = _table(lists, path, text) if is_table else _lines(lists, path, text)
        yield ListFile(path, rows, numbered=not is_table)


def list_files(lists: Lists) -> list[Path]:
    """Return the list files: the one that is named, or all in the folder that is.

    Raises:
        DataError: If there are none.
    """
    if lists.path.is_dir():
        try:
            paths = sorted(lists.path.iterdir())
        except OSError as error:
            raise DataError(f"`data.lists`: `{printable(lists.path)}` cannot be read ({reason_of(error)}).") from error
        if files := [path for path in paths if not path.name.startswith(".") and _is_list(path)]:
            return files
        raise DataError(f"`data.lists`: the folder `{printable(lists.path)}` holds no `.txt` or `.csv` file.")
    if not lists.path.exists():
        raise DataError(f"`data.lists`: there is no file or folder `{printable(lists.path)}`.")
    if not _is_list(lists.path):
        raise DataError(
            f"`data.lists`: `{printable(lists.path)}` is neither a `.txt` file of `<path> <label>` lines nor a `.csv` "
            f"file with {COLUMNS}."
        )
    return [lists.path]


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and path.is_file()


def wrong(file: Path, line: int, text: str) -> DataError:
    """Return the error about a line of a list file."""
    return DataError(f"`{printable(file)}`, line {line}: {text}")


def _lines(lists: Lists, file: Path, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        # The path may have spaces, the label none.
        words = line.strip().rsplit(None, 1)
        if len(words) != 2:
            example = "`<path> <label>`, such as `photo/dog/001.jpg 0`"
            raise wrong(file, number, f"expected {example}, but got `{excerpt(line.strip())}`.")
        yield Line(number, _inside(lists, file, number, words[0]), words[1], None)


def _table(lists: Lists, file: Path, text: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _columns(lists, file, header)
        for row in reader:
            if any(cell.strip() for cell in row):
                path, label, domain = _cells(file, reader.line_num, row, header, places)
                yield Line(reader.line_num, _inside(lists, file, reader.line_num, path), label, domain)
    except csv.Error as error:
        raise wrong(file, reader.line_num, f"it is not CSV ({error}).") from error


def _cells(file: Path, number: int, row: Sequence[str], header: Sequence[str], places: Sequence[int]) -> list[str]:
    """Return path, class and domain of a row."""
    if len(row) != len(header):
        expected = f"expected {len(header)} cells, as in the first line, but got {len(row)}"
        raise wrong(file, number, f"{expected}; put a cell that has a comma into double quotes.")
    cells = [row[place].strip() for place in places]
    if not all(cells):
        raise wrong(file, number, "every image needs a path, a class and a domain.")
    return cells


def _columns(lists: Lists, file: Path, header: Sequence[str]) -> list[int]:
    """Return where path, class and domain are among the columns."""
    wanted = {
        "path": ("path", "image") if lists.image == "image" else (lists.image,),
        "class": ("class", "label") if lists.label == "label" else (lists.label,),
        "domain": (lists.domain,),
    }
    found = {role: [name for name in names if name in header] for role, names in wanted.items()}
    if missing := [wanted[role][0] for role, names in found.items() if not names]:
        what = f"its first line names {listed(header, 8)}" if header else "it is empty"
        raise DataError(
            f"`{printable(file)}` has no column {listed(missing)}: {what}. It has to name {COLUMNS}, separated by "
            "commas, or those that `data.columns.image`, `.label` and `.domain` name."
        )
    names = [own[0] for own in found.values()]
    if twice := [name for name in names if header.count(name) > 1]:
        raise DataError(f"`{printable(file)}` has more than one column {listed(twice)}; keep one.")
    return [header.index(name) for name in names]


def _inside(lists: Lists, file: Path, number: int, text: str) -> str:
    """Return a path relative to the root, normalized.

    Raises:
        DataError: If it leads out of the root.
    """
    if "\0" in text:
        raise wrong(file, number, f"`{excerpt(text)}` is not a path, since it has a zero byte.")
    path = os.path.relpath(text, lists.root) if text.startswith("/") else posixpath.normpath(text)
    if path in (".", "..") or path.startswith("../"):
        place = f"`{excerpt(text)}` is not below `{printable(lists.root)}`"
        raise wrong(file, number, f"{place}; give the folder that all images are below with `--data.root=FOLDER`.")
    return path
