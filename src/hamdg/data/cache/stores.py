"""The stores in a cache, of decoded images and of activations: what they hold, who uses them, and their removal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock, Timeout

from hamdg.data.cache.files import FORMAT, ROW
from hamdg.errors import StorageError
from hamdg.text import reason_of

# The folder of stores of activations (`hamdg.data.activations`), and the file that has them.
ACTIVATIONS, VALUES = "activations", "values.npy"
# Counts up when the form of activations, or what is computed for the same description, changes.
ACTIVATIONS_FORMAT = 2
# What a store holds, in words; and what is locked by who writes it.
ABOUT, LOCK = "about.json", "lock"
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
        images: How many images the domain has; of activations, how many have some.
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
    found = [_unless_gone(_info, path.parent) for path in (cache / "pictures").glob("*/index")]
    found += [_unless_gone(_activations_info, folder) for folder in (cache / ACTIVATIONS).glob("*-activations")]
    return sorted((one for one in found if one is not None), key=lambda one: (-one.used, one.name))


def _unless_gone(look: Callable[[Path], StoreInfo], folder: Path) -> StoreInfo | None:
    """Return what a store holds; `None` where another process has deleted it meanwhile."""
    try:
        return look(folder)
    except FileNotFoundError:
        return None


def is_used(store: StoreInfo) -> bool:
    """Return whether a process reads or fills a store; nothing is written for it."""
    return _is_held(store.folder / _USED, fcntl.LOCK_EX) or _is_held(store.folder / LOCK, fcntl.LOCK_SH)


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
    try:
        with _alone(store.folder) as alone:
            if not alone:
                return False
            # From here on it is none, whatever interrupts the rest.
            (store.folder / ABOUT).unlink(missing_ok=True)
            shutil.rmtree(store.folder)
    except OSError as error:
        raise StorageError(f"Cannot delete `{store.folder}`: {reason_of(error)}.") from error
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a store exclusively for a moment; yield whether that was possible."""
    lock = FileLock(folder / LOCK, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
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
    about = _about(folder)
    current = (about.get("format"), about.get("pillow")) == (FORMAT, PIL.__version__)
    index = (folder / "index").read_bytes() if current else b""
    whole = len(index) % ROW.itemsize == 0
    return StoreInfo(
        folder,
        str(about.get("place", "")),
        str(about.get("domain", "")),
        str(about.get("view", "")) or folder.name.partition("-")[2],
        int(about.get("pictures", 0)),
        int((np.frombuffer(index, ROW)["checksum"] != 0).sum()) if current and whole else None,
        _size(folder),
        _last_use(folder, "index"),
        not current,
    )


def _activations_info(folder: Path) -> StoreInfo:
    """Return what a store of activations holds; one whose making was interrupted holds none, whatever it takes."""
    about = _about(folder)
    count = int(about.get("count", 0))
    return StoreInfo(
        folder,
        str(about.get("place", "")),
        str(about.get("domain", "")),
        f"{about['views']} views" if "views" in about else "",
        count,
        count if (folder / VALUES).exists() else 0,
        _size(folder),
        _last_use(folder, VALUES),
        (about.get("format"), about.get("pillow", PIL.__version__)) != (ACTIVATIONS_FORMAT, PIL.__version__),
    )


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT).read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _size(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # temporary ones go
            size += path.stat().st_blocks * 512
    return size


def _last_use(folder: Path, file: str) -> float:
    times = [path.stat().st_mtime for path in (folder / _USED, folder / file, folder / ABOUT) if path.exists()]
    return times[0] if times else time.time()
