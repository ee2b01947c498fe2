"""Atomic files: a reader sees the old file or the whole new one, never a part of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hamdg.errors import RunDirectoryError, StorageError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}

# How safetensors, new and old, puts the number of an error into its text.
_EMBEDDED = ("(os error {})", "Os {{ code: {},")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` that replaces `path` when the block ends well.

    The folder is created when it is missing. On any error inside the block the temporary file is removed and an
    existing `path` stays as it was.

    Args:
        path: The file to write or replace.

    Raises:
        StorageError: The disk is full or the quota is used up.
    """
    path = Path(path)
    temporary: Path | None = None
    with explained_storage(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=f".tmp{path.suffix}")
            os.close(handle)
            temporary = Path(name)
            yield temporary
            _settle(temporary)
            os.replace(temporary, path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextmanager
def explained_storage(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk, met while `path` is written, into a sentence.

    Raises:
        StorageError: The disk is full or the quota is used up.
    """
    try:
        yield
    except OSError as error:
        if (reason := _storage_reason(error)) is None:
            raise
        raise StorageError(_storage_message(path, reason)) from error


def link(source: Path, target: Path) -> None:
    """Give a file a second name, replacing what has that name; a copy where the file system has no hard links.

    Raises:
        StorageError: The disk is full or the quota is used up.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        with atomic_path(target) as temporary:
            shutil.copy2(source, temporary)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes below `folder`; nobody else may be writing there."""
    for path in folder.rglob(".*-*.tmp*"):
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` atomically, as indented JSON (NaN and infinity are refused)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote to a file of a run.

    Raises:
        RunDirectoryError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reason = "is missing"
    except ValueError as error:  # no JSON, or not even text
        reason = f"is damaged ({error})"
    raise RunDirectoryError(f"`{path}` {reason}; repeat the run with `--force`.")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 digest of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the user's cache folder: `HAMDG_CACHE`, else `XDG_CACHE_HOME/hamdg`, else `~/.cache/hamdg`."""
    if own := os.environ.get("HAMDG_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "hamdg"
    return Path.home() / ".cache" / "hamdg"


def _settle(temporary: Path) -> None:
    """Give the file the permissions a plain `open` would give, and flush it to the disk."""
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())


def _storage_reason(error: OSError) -> str | None:
    for code, reason in _FULL.items():
        if error.errno == code or any(form.format(code) in str(error) for form in _EMBEDDED):
            return reason
    return None


def _storage_message(path: Path, reason: str) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"Cannot write `{path}`: {reason} ({free:,.0f} MiB free); nothing was left half-written. "
        "Free some space or choose another disk (for runs with `--runtime.root`), then repeat the command."
    )
