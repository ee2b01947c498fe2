"""The images of a domain that list files name, in the order in which a folder has them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from hamdg.data.benchmark import Benchmark, Lists
from hamdg.data.folders.layout import domain_of_folder, printable
from hamdg.data.folders.scan import FolderSource, check_classes
from hamdg.data.listing import Listing, NameTable
from hamdg.data.lists.meaning import Listed, read_lists
from hamdg.errors import DataError
from hamdg.text import listed

_SHOWN = 5


def list_listed_domain(benchmark: Benchmark, lists: Lists, domain: str, *, complete: bool = True) -> Listing:
    """List the images of one domain that list files name; none is opened.

    Whatever the order of the lines, the images are ordered as those of a folder: by label, then as ImageFolder does.

    Args:
        benchmark: The benchmark.
        lists: The list files.
        domain: One of its domains.
        complete: Refuse lists that lack the domain or a class of it, or name files that are not there.

    Raises:
        DataError: If the lists make no sense, or are not complete.
    """
    found = read_lists(lists, benchmark)
    images = found.images.get(domain, {})
    if complete:
        _check_complete(benchmark, lists, domain, found)
    base = _common_folder(benchmark, domain, images)
    names, labels = _ordered(benchmark, images, len(base))
    folder = lists.root / base
    sizes = [_size(f"{folder}/{name}") for name in names]
    if complete and (missing := [name for name, size in zip(names, sizes, strict=True) if size is None]):
        raise DataError(_missing(lists, domain, [base + name for name in missing], len(names)))
    packed = NameTable.pack(names)
    known = np.array([size or 0 for size in sizes], np.int64)
    return Listing(domain, np.array(labels, np.int64), packed, known, FolderSource(folder, packed))


def _check_complete(benchmark: Benchmark, lists: Lists, domain: str, found: Listed) -> None:
    where = f"`data.lists` (`{printable(lists.path)}`)"
    if domain not in found.images:
        raise DataError(
            f"{where} names no image of the domain `{domain}` of `{benchmark.name}`, only of {listed(found.domains)}."
        )
    check_classes(benchmark, domain, set(found.images[domain].values()), f"{where} names")


def _common_folder(benchmark: Benchmark, domain: str, images: Mapping[str, str]) -> str:
    """Return the folder of the domain, with a slash, where all its images lie in one; names are then those in it."""
    folders = {path.rpartition("/")[0] for path in images}
    parts = os.path.commonpath(folders).split("/") if folders and "" not in folders else []
    own = [place for place, name in enumerate(parts) if domain_of_folder(benchmark, name) == domain]
    return "".join(f"{part}/" for part in parts[: own[-1] + 1]) if own else ""


def _ordered(benchmark: Benchmark, images: Mapping[str, str], start: int) -> tuple[list[str], list[int]]:
    """Return names and labels in ImageFolder's order; where a name has a class folder, what lies above counts last."""

    @cache
    def inner_of(folder: str, label: int) -> str:
        parts = folder.split("/")
        own = next((place for place, name in enumerate(parts, start=1) if benchmark.find_label(name) == label), 0)
        return "/".join(parts[own:])

    rows = []
    for path, name in images.items():
        label = benchmark.find_label(name)
        assert label is not None
        folder, _, file = path[start:].rpartition("/")
        rows.append((label, inner_of(folder, label), file, folder))
    rows.sort()
    return [f"{folder}/{file}" if folder else file for _, _, file, folder in rows], [row[0] for row in rows]


def _size(path: str) -> int | None:
    """Return the size of a file, `None` where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a `Path` for each of half a million files takes as long again
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _missing(lists: Lists, domain: str, missing: Sequence[str], total: int) -> str:
    what = f"{len(missing):,} of {total:,} images of `{domain}` that `data.lists` names"
    return (
        f"{what} are not in `{printable(lists.root)}`: {listed(missing, _SHOWN)}; give the folder that the paths begin "
        "in with `--data.root=FOLDER`, or take their lines out."
    )
