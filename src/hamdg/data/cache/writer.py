"""Filling a store: decode what it lacks, in parallel, by one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hamdg import console
from hamdg.data.cache.disk import SAMPLE, amount, check_fits, compressed_bytes, needed, ways_out
from hamdg.data.cache.files import StoreFiles, Writer
from hamdg.data.cache.freshness import compare
from hamdg.data.listing import Listing
from hamdg.data.parallel import Rendered, render_each, unreadable
from hamdg.data.transforms import View
from hamdg.errors import StorageError
from hamdg.text import reason_of

Positions = NDArray[np.int64]


def fill(listing: Listing, view: View, files: StoreFiles, positions: Positions) -> None:
    """Decode those of the images that a store lacks, or whose files were replaced, announcing it first.

    Another process may fill the same store: this one waits for it and decodes what is then still missing. Whatever
    interrupts it, what has been decoded is kept.

    Raises:
        StorageError: If they do not fit on the disk, or cannot be written there.
        DataError: If some cannot be read or decoded; it names them. All others are kept.
    """
    with _explained(files.folder), _alone(listing, files):
        missing = _outdated(listing, files, np.unique(positions))
        if missing:
            _check_space(listing, view, files.folder, missing)
            with console.progress(len(missing), f"images of `{listing.domain}` decoded") as advance:
                failed = _decode(listing, view, files, missing, advance)
            if failed:
                raise unreadable(listing, failed, len(positions))


def repair(listing: Listing, view: View, files: StoreFiles, positions: Sequence[int]) -> None:
    """Decode images that were found missing or damaged while reading, unless another process has done so by now.

    Raises:
        StorageError: If they cannot be written.
        DataError: If some cannot be read or decoded; it names them.
    """
    with _explained(files.folder), _alone(listing, files):
        outdated = set(_outdated(listing, files, np.array(positions)))
        broken = [one for one in positions if one in outdated or not files.intact(one)]
        failed = _decode(listing, view, files, broken)
    if failed:
        raise unreadable(listing, failed, len(positions))


def renew(listing: Listing, files: StoreFiles, touched: Mapping[int, tuple[int, int]]) -> None:
    """Note that files were touched and have the contents that they had, so that they need not be read again.

    Where that is not possible (the cache cannot be written, or is being written), the next process reads them again.
    """
    with suppress(OSError, Timeout), _alone(listing, files, wait=False):
        _stamp(files, touched)


def _stamp(files: StoreFiles, touched: Mapping[int, tuple[int, int]]) -> None:
    with Writer(files) as writer:
        for position, (stamp, content) in touched.items():
            if files.rows["content"][position] == content:
                writer.stamp(position, stamp)
    files.load()


def _outdated(listing: Listing, files: StoreFiles, positions: Positions) -> list[int]:
    """Return images that are not there, or are those of other files; only for who has the store's lock."""
    kept = files.rows["checksum"][positions] != 0
    found = compare(listing, files, positions[kept & ~files.current[positions]])
    if found.touched:
        _stamp(files, found.touched)
    if found.replaced:
        console.note(
            f"{len(found.replaced):,} images of `{listing.domain}` were replaced since they were decoded; "
            "they are decoded again"
        )
    # A replaced image counts as looked at once it is decoded: until then the old one must not be read.
    files.current[np.setdiff1d(positions, found.replaced)] = True
    return sorted([*positions[~kept].tolist(), *found.replaced])


def _decode(
    listing: Listing,
    view: View,
    files: StoreFiles,
    positions: Sequence[int],
    advance: Callable[[int], None] | None = None,
) -> list[Rendered]:
    """Decode and write images; return those that could not be decoded."""
    failed: list[Rendered] = []
    try:
        with Writer(files) as writer, closing(render_each(listing, view, positions)) as rendered:
            for one in rendered:
                if one.pixels is None:
                    failed.append(one)
                else:
                    writer.add(one.position, one.pixels, one.stamp, one.content)
                if advance is not None:
                    advance(1)
            if advance is not None:
                writer.settle()
    finally:
        files.load()
    return failed


@contextmanager
def _alone(listing: Listing, files: StoreFiles, wait: bool = True) -> Iterator[None]:
    """Hold the store's lock, with its files there and read again.

    Raises:
        Timeout: If another process holds it, and it is not waited for.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(files.folder / "lock", is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        console.note(f"waiting for another process that decodes images of `{listing.domain}`")
        lock.acquire()
    try:
        if not files.load():
            files.create()
        yield
    finally:
        lock.release()


def _check_space(listing: Listing, view: View, folder: Path, positions: Sequence[int]) -> None:
    """Announce what will be decoded and how much disk it takes; refuse what does not fit."""
    need = needed(listing, view, positions)
    smaller = compressed_bytes(listing, positions) if view.channels > 1 else None
    free = check_fits(need, f"{len(positions):,} decoded images of `{listing.domain}`", folder, smaller)
    about = "about " if view.side is None and len(positions) > SAMPLE else ""
    console.note(
        f"decoding {len(positions):,} images of `{listing.domain}` once: {about}{amount(need)} in {folder}, "
        f"{amount(free)} free"
    )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the disk objects to into a sentence; errors of the images' own files never come here as `OSError`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = reason_of(error)
        raise StorageError(
            f"Cannot keep decoded images in `{folder}`: {reason}; images that were kept before stay. "
            f"Free some space or make the folder writable, {ways_out()}."
        ) from error
