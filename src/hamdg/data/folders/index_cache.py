"""Remembers what the folders of large domains hold: half a million files take seconds to look at."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamdg.data.folders.scan import Scan
from hamdg.data.listing import SETTLED, Integers, NameTable
from hamdg.data.locations import Location
from hamdg.files import cache_folder, write_bytes

# Below this many images a look at the folders takes about a tenth of a second.
WORTH_IT = 20_000
_DIGEST = 32


@dataclass(frozen=True)
class Remembered:
    """What is known of a domain.

    Args:
        folder: Its folder.
        labels: The label of every image.
        names: The path of every image in the folder.
        sizes: The size of every image's file.
    """

    folder: Path
    labels: Integers
    names: NameTable
    sizes: Integers


def recall(place: Location, domain: str) -> Remembered | None:
    """Return what is known of a domain in folders, `None` if nothing is.

    It holds as long as no folder was changed: a file that is overwritten where it lies is not noticed.
    """
    content = _intact(_file(place, domain))
    if content is None:
        return None
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    folders = [os.fsdecode(name) for name in arrays["folders"].tobytes().split(b"\0")]
    if _times(folders) != arrays["times"].tolist():
        return None
    names = NameTable(arrays["names"].tobytes(), arrays["ends"])
    folder = Path(os.fsdecode(arrays["folder"].tobytes()))
    return Remembered(folder, arrays["labels"].astype(np.int64), names, arrays["sizes"])


def remember(place: Location, scan: Scan) -> None:
    """Keep what a scan without faults has found, if that is worth it."""
    listing = scan.listing
    newest = max(scan.visited.values())
    if listing is None or len(listing) < WORTH_IT or newest > time.time_ns() - SETTLED:
        return
    assert isinstance(listing.names, NameTable)
    stream = io.BytesIO()
    np.savez(
        stream,
        folder=_bytes([str(scan.folder)]),
        folders=_bytes(scan.visited),
        times=np.array(list(scan.visited.values()), np.int64),
        labels=listing.labels.astype(np.int16),
        names=np.frombuffer(listing.names.block, np.uint8),
        ends=listing.names.ends,
        sizes=listing.sizes,
    )
    content = stream.getvalue()
    try:
        write_bytes(_file(place, scan.domain), hashlib.sha256(content).digest() + content)
    except OSError:
        return  # The cache is full or cannot be written: the next scan takes as long as this one did.


def _file(place: Location, domain: str) -> Path:
    assert place.root is not None
    one = place.benchmark
    facts = (1, one.name, one.domains, sorted(one.aliases.items()), one.classes, sorted(one.labels.items()), domain)
    key = hashlib.sha256(repr(facts).encode() + b"\0" + os.fsencode(place.root.absolute())).hexdigest()
    return cache_folder() / "listings" / f"{key[:32]}.npz"


def _intact(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content[_DIGEST:] if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST] else None


def _times(folders: Iterable[str]) -> list[int] | None:
    try:
        return [Path(folder).stat().st_mtime_ns for folder in folders]
    except OSError:
        return None


def _bytes(names: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(b"\0".join(os.fsencode(name) for name in names), np.uint8)
