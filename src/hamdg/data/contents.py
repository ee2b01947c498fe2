"""Which images a domain has, judged by the contents of their files: bitmaps of one name and size may differ."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hamdg.data.listing import Listing
from hamdg.files import cache_folder, write_json

# Of a domain with fewer images than this, all are read; of a larger one so many of them, evenly spread.
WHOLE = 20_000
SAMPLE = 1_024
_THREADS = 8


def contents_digest(listing: Listing) -> str:
    """Return the SHA-256 over the contents of a domain's files, wherever they lie.

    It is remembered in the cache with the files' stamps, so that nothing is read again until a file was touched. Of
    domains with 20,000 images or more, 1,024 are read.
    """
    count = len(listing)
    positions = np.arange(count) if count < WHOLE else np.linspace(0, count - 1, SAMPLE).astype(np.int64)
    chosen: list[int] = positions.tolist()
    stamps = _stamps(listing, chosen)
    file = _file(listing)
    if stamps is not None and (known := _recalled(file, stamps)) is not None:
        return known
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda position: _digest(listing, position), chosen))
    found = hashlib.sha256(b"".join(parts)).hexdigest()
    if stamps is not None:
        _remember(file, stamps, found)
    return found


def _stamps(listing: Listing, positions: list[int]) -> str | None:
    """Return a digest of the stamps of files, `None` if one has none: it may change without its stamp telling."""
    try:
        stamps = [listing.stamp(position) for position in positions]
    except OSError:
        return None
    return hashlib.sha256(np.array(stamps, np.uint64).tobytes()).hexdigest() if all(stamps) else None


def _digest(listing: Listing, position: int) -> bytes:
    try:
        return hashlib.sha256(listing.content(position)).digest()
    except OSError:  # decoding the image reports it
        return b""


def _file(listing: Listing) -> Path:
    return cache_folder() / "contents" / f"{listing.key[:32]}.json"


def _recalled(file: Path, stamps: str) -> str | None:
    try:
        known = json.loads(file.read_bytes())
        return str(known["contents"]) if known["stamps"] == stamps else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, stamps: str, contents: str) -> None:
    try:
        write_json(file, {"stamps": stamps, "contents": contents})
    except OSError:
        return  # The cache is full or cannot be written: the next run reads the files again.
