"""How people lay folders out: which folder means which domain, part or class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hamdg.data.benchmark import Benchmark, normalized
from hamdg.text import escaped

# How benchmarks lie in folders, for messages.
LAYOUT = "<domain>/<class>/image"
PARTS = ("train", "crossval", "val", "valid", "validation", "test", "full")
# JiGen's copy of VLCS has one beside `train`, `crossval` and `test`: the same images again.
WHOLE = "full"
PARQUET = ".parquet"
_NO_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information")


def counts_as_folder(name: str) -> bool:
    """Return whether a folder may be a domain or a class: hidden ones and those that systems leave behind do not."""
    return not name.startswith(".") and name.lower() not in _NO_FOLDERS


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted; links to folders count.

    Raises:
        OSError: If `folder` cannot be listed.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if counts_as_folder(entry.name) and entry.is_dir())


def holds_table(path: Path) -> bool:
    """Return whether images are in rows of a table: in a `.parquet` file, a folder of them, or one of `datasets`.

    In such a folder, all folders hold `.parquet` files too.
    """
    if not path.is_dir():
        return path.suffix == PARQUET and path.exists()
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        return True
    try:
        inner = [_holds_parquet(path / name) for name in subfolders(path)]
        return all(inner) and (any(inner) or _holds_parquet(path))
    except OSError:  # looking for domains reports it
        return False


def _holds_parquet(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(PARQUET) for entry in entries)


def domain_folders(benchmark: Benchmark, names: Sequence[str]) -> dict[str, list[str]]:
    """Return which of the folders `names` mean which domain; more than one may mean the same.

    Letters that stand for domains on the command line (`s`) are too little to take a folder for one.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        domain = domain_of_folder(benchmark, name)
        if domain is not None:
            found.setdefault(domain, []).append(name)
    return found


def domain_of_folder(benchmark: Benchmark, name: str) -> str | None:
    """Return the domain that a folder's name means, `None` if it means none."""
    domain = benchmark.find_domain(name)
    if domain is None or (len(normalized(name)) == 1 and normalized(name) != normalized(domain)):
        return None
    return domain


def parts_of(names: Sequence[str], is_class: Callable[[str], bool]) -> list[str]:
    """Return which of a domain's folders are parts (`train`, `test`, ...) that hold the class folders.

    DomainNet has a class called `train`; so folders are parts only where no other folder is a class.
    """
    parts = [name for name in names if normalized(name) in PARTS]
    others = [name for name in names if name not in parts]
    return [] if any(is_class(name) for name in others) else parts


def parts_to_read(parts: Sequence[str]) -> list[str]:
    """Return which of a domain's parts are read: all, or the one called `full` alone, which holds the others."""
    return [name for name in parts if normalized(name) == WHOLE] or list(parts)


def class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders in a domain's folder, united over its parts, where nothing else is known.

    Raises:
        OSError: If a folder cannot be listed.
    """
    names = subfolders(folder)
    if names and len(parts_of(names, lambda name: True)) == len(names):
        names = sorted({name for part in parts_to_read(names) for name in subfolders(folder / part)})
    return names


def printable(path: Path | str) -> str:
    r"""Return a path as messages show it: bytes that are not UTF-8 and control characters are written as `\xff`."""
    return escaped(os.fsencode(path).decode("utf-8", "backslashreplace"))
