"""Atomic files: a reader sees the old file or the whole new one, never a part of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

from hamdg.errors import ConfigError, StorageError

# What NumPy raises where an archive (`.npz`) is damaged, each by where the damage lies.
DAMAGED_ARCHIVE = (
    *(BadZipFile, zlib.error, TokenError, NotImplementedError),
    *(EOFError, ValueError, IndexError, KeyError, TypeError),
)

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
            handle, name = _made_beside(path)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            _settle(temporary)
            os.replace(temporary, path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends well.

    On any error inside the block it is removed. Its name begins with a dot, and what a killed process left of it is
    removed by the next one; no other process may be making the same folder.

    Args:
        path: The folder to make; the folder above is created when it is missing.

    Raises:
        FileExistsError: There is such a folder already.
        StorageError: The disk is full or the quota is used up.
    """
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = path.with_name(f".{path.name}.tmp")
    with explained_storage(path):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            try:
                temporary.rename(path)
            except OSError as error:
                if path.exists():  # made meanwhile
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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


def link_if_there(source: Path, target: Path) -> bool:
    """Link a file of another run as `link` does; return whether it is still there: that run may have begun again."""
    try:
        link(source, target)
    except FileNotFoundError:
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes below `folder`; no other process may be writing there."""
    for path in folder.rglob(".*-*.tmp*"):
        path.unlink(missing_ok=True)


def every_folder(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder from `top` on, however deep, with the names of what is in it but for folders; no links."""
    waiting = [str(top)]
    while waiting:
        folder = waiting.pop()
        names = []
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    names.append(entry.name)
        yield folder, names


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    r"""Write `text` to `path` atomically, as UTF-8; bytes of a name that are none are written as `\udcff`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` atomically, as indented JSON (NaN and infinity are refused)."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return the content of a JSON file as `write_json` writes it."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free where a folder lies, or would lie if it were made."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def cache_folder(own: str | None = None) -> Path:
    """Return the folder of caches: `own`, else `HAMDG_CACHE`, else `XDG_CACHE_HOME/hamdg`, else `~/.cache/hamdg`.

    Args:
        own: What a recipe says in `data.cache`.

    Raises:
        ConfigError: If there is no such home folder.
    """
    return _named_cache(own)[1]


def needed_cache(own: str | None = None) -> Path:
    """Return the folder of caches for what has to be kept there.

    Raises:
        ConfigError: If there is no such home folder, or a file lies where the folder should be.
    """
    name, folder = _named_cache(own)
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.exists() and not there.is_dir():
        raise ConfigError(f"`{name}` is `{folder}`, but `{there}` is not a folder; name another one.")
    return folder


def _named_cache(own: str | None) -> tuple[str, Path]:
    """Return the folder of caches, and the key or the environment variable that moves it."""
    name, text = "data.cache", own
    if text is None:
        name, text = "HAMDG_CACHE", os.environ.get("HAMDG_CACHE", "")
    if text:
        return name, user_path(text, name)
    shared = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME")
    return "HAMDG_CACHE", shared / "hamdg"


def user_path(text: str, name: str) -> Path:
    """Return a path with `~` and `~user` replaced by their home folders.

    Args:
        text: The path.
        name: The key or the environment variable that gives it.

    Raises:
        ConfigError: If there is no such user, or the user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0]
        raise ConfigError(f"`{name}` is `{text}`, but `{user}` has no home folder here; write the path out.") from None


def _made_beside(path: Path) -> tuple[int, str]:
    """Make a temporary file beside `path` and open it; an error is about `path`, which the user knows."""
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=f".tmp{path.suffix}")
    except OSError as error:
        error.filename = str(path)
        raise


def _settle(temporary: Path) -> None:
    """Set the permissions that a plain `open` would give, and flush the file to the disk."""
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
    free = free_bytes(path.parent) / 2**20
    return (
        f"Cannot write `{path}`: {reason} ({free:,.0f} MiB free); nothing was left half-written. "
        "Free some space or choose another disk (for runs with `--runtime.root`), then repeat the command."
    )
