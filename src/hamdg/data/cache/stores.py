"""The stores in a cache: what they hold, who uses them, and their removal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock, Timeout

from hamdg.data.cache.files import FORMAT, ROW
from hamdg.errors import StorageError
from hamdg.text import reason_of

# Held by all processes that read a store; its time is that of the last use.
_USED = "used"
# Who lists or deletes stores holds it for a moment.
_TRIES, _PAUSE = 20, 0.01


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds and who used it last.

    Args:
        folder: Where it lies.
        place: Where the images are that it was made of; empty where that is not known.
        domain: Their domain.
        view: What of them is kept.
        images: How many images the domain has.
        there: How many of them are kept; `None` where that is not known.
        size: Bytes on the disk.
        used: When it was last used, in seconds since the epoch.
        outdated: Whether this version of hamdg (or of Pillow) makes others in its place.
    """

    folder: Path
    place: str
    domain: str
    view: str
    images: int
    there: int | None
    size: int
    used: float
    outdated: bool

    @property
    def name(self) -> str:
        """Return how commands call it."""
        return self.folder.name


def use(owner: object, folder: Path) -> bool:
    """Note that a store is used from now on, as long as `owner` lives; `False` where that cannot be noted.

    Others can still read and fill it, but not delete it.
    """
    try:
        handle = os.open(folder / _USED, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    weakref.finalize(owner, os.close, handle)
    with suppress(OSError):
        os.utime(handle)
    for _ in range(_TRIES):
        if _flock(handle, fcntl.LOCK_SH):
            return True
        time.sleep(_PAUSE)
    return False


def stores(cache: Path) -> list[StoreInfo]:
    """Return the stores in a cache, those that were used last first."""
    folders = [path.parent for path in (cache / "pictures").glob("*/index")]
    return sorted((_info(folder) for folder in folders), key=lambda one: (-one.used, one.name))


def is_used(store: StoreInfo) -> bool:
    """Return whether a process reads or fills a store; nothing is written for it."""
    return _is_held(store.folder / _USED, fcntl.LOCK_EX) or _is_held(store.folder / "lock", fcntl.LOCK_SH)


def _is_held(file: Path, kind: int) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _flock(handle, kind)
    finally:
        os.close(handle)


def _flock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def delete(store: StoreInfo) -> bool:
    """Delete a store; `False`, and nothing happens, if a process reads or fills it.

    Raises:
        StorageError: If it cannot be deleted.
    """
    with _alone(store.folder) as alone:
        if not alone:
            return False
        try:
            # From here on it is none, whatever interrupts the rest.
            (store.folder / "about.json").unlink(missing_ok=True)
            shutil.rmtree(store.folder)
        except OSError as error:
            raise StorageError(f"Cannot delete `{store.folder}`: {reason_of(error)}.") from error
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a store exclusively for a moment; yield whether that was possible."""
    lock = FileLock(folder / "lock", is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        handle = os.open(folder / _USED, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield _flock(handle, fcntl.LOCK_EX)
        finally:
            os.close(handle)
    finally:
        lock.release()


def _info(folder: Path) -> StoreInfo:
    try:
        about = json.loads((folder / "about.json").read_bytes())
    except (OSError, ValueError):
        about = {}
    about = about if isinstance(about, dict) else {}
    current = (about.get("format"), about.get("pillow")) == (FORMAT, PIL.__version__)
    index = (folder / "index").read_bytes() if current else b""
    whole = len(index) % ROW.itemsize == 0
    files = [path.stat() for path in folder.iterdir()]
    times = [path.stat().st_mtime for path in (folder / _USED, folder / "index") if path.exists()]
    return StoreInfo(
        folder,
        str(about.get("place", "")),
        str(about.get("domain", "")),
        str(about.get("view", "")) or folder.name.partition("-")[2],
        int(about.get("pictures", 0)),
        int((np.frombuffer(index, ROW)["checksum"] != 0).sum()) if current and whole else None,
        sum(status.st_blocks * 512 for status in files),
        times[0] if times else time.time(),
        not current,
    )
