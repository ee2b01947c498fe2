"""What a domain's folders hold: counted, compared with the benchmark's classes, and listed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hamdg.data.benchmark import Benchmark
from hamdg.data.layout import domain_folders, parts_of, printable, subfolders
from hamdg.data.listing import Listing, PackedNames
from hamdg.data.locate import Place
from hamdg.data.walk import walk
from hamdg.errors import DataError


@dataclass(frozen=True)
class FolderSource:
    """Pictures in files.

    Args:
        folder: The domain's folder.
        names: The paths of its pictures in it.
    """

    folder: Path
    names: PackedNames

    def content(self, position: int) -> bytes:
        """Return a picture's file."""
        return self._path(position).read_bytes()

    def describe(self, position: int) -> str:
        """Return a picture's path."""
        return printable(self._path(position))

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
        beside: All folders in `root`.
        rivals: All its folders, where more than one means this domain.
        surplus: Folders that mean no class, relative to `folder`.
        doubled: Folders that mean the same class, such as `dog` and `Dog`.
        missing: Classes without a folder, though some published copy has pictures of them.
        empty: Classes whose folders hold no picture, though some published copy has some.
        unreadable: Folders and files that cannot be looked at, and why.
        passed_over: How many files are no pictures.
        listing: The pictures of the benchmark's classes; `None` without a folder.
    """

    benchmark: Benchmark
    root: Path
    domain: str
    folder: Path | None = None
    beside: list[str] = field(default_factory=list)
    rivals: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    doubled: list[list[str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0
    listing: Listing | None = None

    def counts(self) -> dict[str, int]:
        """Return the number of pictures by class, in the order of the classes; 0 where there is none."""
        classes = self.benchmark.classes
        labels = np.zeros(0, np.int64) if self.listing is None else self.listing.labels
        return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def scan_domain(place: Place, domain: str) -> Scan:
    """Look at all folders of one domain; whatever is wrong in them is noted, and nothing is raised.

    Args:
        place: Where the benchmark is; a folder.
        domain: One of its domains.
    """
    assert place.root is not None
    scan = Scan(place.benchmark, place.root, domain)
    scan.beside = _subfolders(place.root, scan)
    found = domain_folders(place.benchmark, scan.beside).get(domain, [])
    if found:
        scan.folder = place.root / found[0]
        scan.rivals = found if len(found) > 1 else []
        _scan_classes(scan, scan.folder)
    return scan


def list_folder(place: Place, domain: str) -> Listing:
    """List the pictures of one domain that lies in folders.

    Raises:
        DataError: If the domain is missing, or its folders do not hold exactly the benchmark's classes.
    """
    scan = scan_domain(place, domain)
    if faults := faults_of(scan):
        raise DataError(faults[0])
    assert scan.listing is not None
    return scan.listing


def _scan_classes(scan: Scan, folder: Path) -> None:
    find_label = scan.benchmark.find_label
    names = _subfolders(folder, scan)
    parts = parts_of(names, lambda name: find_label(name) is not None)
    if parts:
        scan.surplus += [name for name in names if name not in parts]
        names = [f"{part}/{name}" for part in parts for name in _subfolders(folder / part, scan)]
    by_label: dict[int, list[str]] = {}
    for name in names:
        label = find_label(name.rpartition("/")[2])
        if label is None:
            scan.surplus.append(name)
        else:
            by_label.setdefault(label, []).append(name)
    for same in by_label.values():
        if len({name.rpartition("/")[0] for name in same}) < len(same):
            scan.doubled.append(same)
    scan.listing = _collect(scan, folder, by_label)
    _note_missing(scan, by_label)


def _collect(scan: Scan, folder: Path, by_label: dict[int, list[str]]) -> Listing:
    """List the pictures by label, then as ImageFolder does.

    In which part a picture lies is looked at last, so that the order is the same in all layouts.
    """
    names: list[bytes] = []
    sizes: list[int] = []
    labels: list[int] = []
    for label in sorted(by_label):
        files = []
        for name in by_label[label]:
            found = walk(folder / name)
            scan.unreadable += found.unreadable
            scan.passed_over += found.passed_over
            files += [(inner, own, name, size) for inner, own, size in found.files]
        for inner, own, name, size in sorted(files):
            names.append(os.fsencode("/".join(part for part in (name, inner, own) if part)))
            sizes.append(size)
            labels.append(label)
    packed = PackedNames.pack(names)
    return Listing(
        scan.domain, np.array(labels, np.int64), packed, np.array(sizes, np.int64), FolderSource(folder, packed)
    )


def _note_missing(scan: Scan, by_label: dict[int, list[str]]) -> None:
    for name, count in scan.counts().items():
        label = scan.benchmark.classes.index(name)
        if count == 0 and _expected(scan.benchmark, scan.domain, label):
            (scan.empty if label in by_label else scan.missing).append(name)


def _expected(benchmark: Benchmark, domain: str, label: int) -> bool:
    """Say whether a domain should have pictures of a class: if any published copy has, or nothing is known."""
    known = [version.by_class[domain] for version in benchmark.versions if domain in version.by_class]
    return not known or any(counts[label] > 0 for counts in known)


def _subfolders(folder: Path, scan: Scan) -> list[str]:
    try:
        return subfolders(folder)
    except OSError as error:
        scan.unreadable.append((str(folder), error.strerror or str(error)))
        return []


def faults_of(scan: Scan) -> list[str]:
    """Return what is wrong with a domain, one sentence a kind; the gravest first."""
    return (
        [f"domain `{scan.domain}`: faults"] if scan.missing or scan.surplus or scan.empty or scan.folder is None else []
    )
