"""What a domain's folders hold: counted, compared with the benchmark's classes, and listed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from hamdg.data.benchmark import Benchmark
from hamdg.data.folders.layout import domain_folders, parts_of, parts_to_read, printable
from hamdg.data.folders.walk import Walk, look, walk
from hamdg.data.listing import Listing, NameTable, stamp_of
from hamdg.data.locations import Location
from hamdg.errors import DataError
from hamdg.text import listed

# So many classes are named in a message.
_LISTED = 12

# Looking at a file's size is a wait for the disk, or for another machine's.
_THREADS = 4


@dataclass(frozen=True)
class FolderSource:
    """Images in files.

    Args:
        folder: The domain's folder.
        names: The paths of its images in it.
    """

    folder: Path
    names: NameTable

    def content(self, position: int) -> bytes:
        """Return an image's file.

        Raises:
            OSError: If it cannot be read.
        """
        return self._path(position).read_bytes()

    def describe(self, position: int) -> str:
        """Return an image's path."""
        return printable(self._path(position))

    @cached_property
    def place(self) -> str:
        """Return the domain's folder, links resolved."""
        return printable(self.folder.resolve())

    def stamp(self, position: int) -> int:
        """Return a number that changes when an image's file is written or replaced.

        Raises:
            OSError: If the file cannot be looked at.
        """
        # Half a million of these are taken where a run begins; as a `Path`, each would take three times as long.
        return stamp_of(os.stat(self._start + self.names.raw(position)))  # noqa: PTH116

    @cached_property
    def _start(self) -> bytes:
        return os.fsencode(self.folder) + b"/"

    def _path(self, position: int) -> Path:
        return self.folder / os.fsdecode(self.names.raw(position))


@dataclass
class Scan:
    """What the folders of one domain hold, faults included.

    Args:
        benchmark: The benchmark.
        root: The folder that holds the domains.
        domain: The domain.
        folder: Its folder; `None` if it has none.
        siblings: All folders in `root`.
        ambiguous: All its folders, where more than one means this domain; only the first is looked into.
        unexpected: Folders that mean no class, relative to `folder`.
        duplicates: Folders that mean the same class, such as `dog` and `Dog`.
        missing: Classes without a folder, though some published copy has images of them.
        empty: Classes whose folders hold no image, though some published copy has some.
        unreadable: Folders and files that cannot be looked at, and why.
        ignored: How many files are not images, or lie beside the class folders.
        visited: All folders that were looked into, and when each was changed last, in nanoseconds.
        listing: The images of the benchmark's classes; `None` without a folder.
    """

    benchmark: Benchmark
    root: Path
    domain: str
    folder: Path | None = None
    siblings: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    ignored: int = 0
    visited: dict[str, int] = field(default_factory=dict)
    listing: Listing | None = None

    def counts(self) -> dict[str, int]:
        """Return the number of images by class, in the order of the classes; 0 where there is none."""
        classes = self.benchmark.classes
        labels = np.zeros(0, np.int64) if self.listing is None else self.listing.labels
        return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))

    def add(self, seen: Walk) -> None:
        """Note what was met on a walk, but for its images."""
        self.unreadable += seen.unreadable
        self.ignored += seen.ignored
        self.visited |= seen.visited


def scan_domain(place: Location, domain: str) -> Scan:
    """Look at all folders of one domain; whatever is wrong in them is noted, and nothing is raised.

    Args:
        place: Where the benchmark is; a folder.
        domain: One of its domains.
    """
    assert place.root is not None
    scan = Scan(place.benchmark, place.root, domain)
    around = Walk()
    scan.siblings = look(place.root, around)
    around.ignored = 0
    scan.add(around)
    found = domain_folders(place.benchmark, scan.siblings).get(domain, [])
    if found:
        scan.folder = place.root / found[0]
        scan.ambiguous = found if len(found) > 1 else []
        by_label = _class_folders(scan, scan.folder)
        scan.listing = _collected(scan, scan.folder, by_label)
        _note_missing(scan, by_label)
    return scan


def _class_folders(scan: Scan, folder: Path) -> dict[int, list[str]]:
    """Return the class folders relative to the domain's folder by label, and note those that are none."""
    find_label = scan.benchmark.find_label
    names = _look(scan, folder)
    if parts := parts_of(names, lambda name: find_label(name) is not None):
        scan.unexpected += [name for name in names if name not in parts]
        names = [f"{part}/{name}" for part in parts_to_read(parts) for name in _look(scan, folder / part)]
    by_label: dict[int, list[str]] = {}
    for name in names:
        label = find_label(name.rpartition("/")[2])
        if label is None:
            scan.unexpected.append(name)
        else:
            by_label.setdefault(label, []).append(name)
    for same in by_label.values():
        if len({name.rpartition("/")[0] for name in same}) < len(same):
            scan.duplicates.append(same)
    return by_label


def _look(scan: Scan, folder: Path) -> list[str]:
    seen = Walk()
    names = look(folder, seen)
    scan.add(seen)
    return names


def _collected(scan: Scan, folder: Path, by_label: dict[int, list[str]]) -> Listing:
    """List the images by label, then as ImageFolder does.

    In which part an image lies is looked at last, so that the order is the same in all layouts.
    """
    names: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        walks = {label: pool.map(walk, [folder / name for name in by_label[label]]) for label in sorted(by_label)}
        for label, seen in walks.items():
            files = _in_order(scan, by_label[label], seen)
            names += [name for name, _ in files]
            sizes += [size for _, size in files]
            labels += [label] * len(files)
    packed = NameTable.pack(names)
    source = FolderSource(folder, packed)
    return Listing(scan.domain, np.array(labels, np.int64), packed, np.array(sizes, np.int64), source)


def _in_order(scan: Scan, folders: list[str], walks: Iterable[Walk]) -> list[tuple[str, int]]:
    files = []
    for folder, seen in zip(folders, walks, strict=True):
        scan.add(seen)
        files += [(inner, name, folder, size) for inner, name, size in seen.files]
    return [
        (f"{folder}/{inner}/{name}" if inner else f"{folder}/{name}", size)
        for inner, name, folder, size in sorted(files)
    ]


def _note_missing(scan: Scan, by_label: dict[int, list[str]]) -> None:
    for label, (name, count) in enumerate(scan.counts().items()):
        if count == 0 and is_expected(scan.benchmark, scan.domain, label):
            (scan.empty if label in by_label else scan.missing).append(name)


def is_expected(benchmark: Benchmark, domain: str, label: int) -> bool:
    """Return whether a domain should have images of a class: if any published copy has some, or nothing is known."""
    known = [version.by_class[domain] for version in benchmark.versions if domain in version.by_class]
    return not known or any(counts[label] > 0 for counts in known)


def check_classes(benchmark: Benchmark, domain: str, there: Collection[str], holds: str) -> None:
    """Refuse a domain that lacks images of a class.

    Args:
        benchmark: The benchmark.
        domain: One of its domains.
        there: The classes of which it has images.
        holds: What names the images, and a verb, for the error: "`images.txt` names".

    Raises:
        DataError: If one is missing that is expected.
    """
    missing = [
        name
        for label, name in enumerate(benchmark.classes)
        if name not in there and is_expected(benchmark, domain, label)
    ]
    if missing:
        raise DataError(
            f"{holds} no image of {listed(missing, _LISTED)} in the domain `{domain}` of `{benchmark.name}`; "
            "every domain needs every class."
        )
