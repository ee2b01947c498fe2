"""The picture files below one class folder, sub-folders included, in ImageFolder's order."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hamdg.data.layout import counts_as_folder

# What Pillow reads and people keep pictures in; ImageFolder knows nine of them.
EXTENSIONS = frozenset(
    (
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "webp",
        "bmp",
        "dib",
        "gif",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "jp2",
        "j2k",
        "tga",
        "avif",
    )
)
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")


@dataclass
class Walk:
    """What was met below a folder.

    Args:
        files: The pictures: folder relative to the one walked (empty where it is that one), name, size in bytes.
        unreadable: Folders and files that cannot be looked at, and why.
        passed_over: How many files are no pictures.
    """

    files: list[tuple[str, str, int]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0


def walk(folder: Path) -> Walk:
    """Collect the pictures below a class folder: by sub-folder, then by name.

    Links are followed; a folder inside itself is entered once.
    """
    found = Walk()
    _enter(str(folder), "", (), found)
    found.files.sort()
    return found


def is_picture(name: str) -> bool:
    """Say whether a file is a picture by its name; hidden files never are."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in EXTENSIONS


def is_left_behind(name: str) -> bool:
    """Say whether a file is one that systems leave behind: it is not worth a word."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _enter(folder: str, inner: str, above: tuple[tuple[int, int], ...], found: Walk) -> None:
    try:
        status = Path(folder).stat()
        if (identity := (status.st_dev, status.st_ino)) in above:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_picture(entry.name):
                    _add(entry, inner, found)
                elif entry.is_dir():
                    if counts_as_folder(entry.name):
                        _enter(entry.path, f"{inner}/{entry.name}" if inner else entry.name, (*above, identity), found)
                elif not is_left_behind(entry.name):
                    found.passed_over += 1
    except OSError as error:
        found.unreadable.append((folder, error.strerror or str(error)))


def _add(entry: os.DirEntry[str], inner: str, found: Walk) -> None:
    try:
        status = entry.stat()
    except OSError as error:  # a link to nothing
        found.unreadable.append((entry.path, error.strerror or str(error)))
        return
    if stat.S_ISREG(status.st_mode):
        found.files.append((inner, entry.name, status.st_size))
    else:
        found.passed_over += 1
