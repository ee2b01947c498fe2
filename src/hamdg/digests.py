"""Digests of files, computed at once or by threads of their own while something else goes on."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from hamdg.cores import usable_cores
from hamdg.errors import ConfigError

HashName = Literal["sha256", "blake3"]
# What Python or the command line prints for them.
TITLES: dict[HashName, str] = {"sha256": "SHA-256", "blake3": "BLAKE3"}

# Hashed at once without Python's lock: long enough that waiting for the lock takes no share of the time.
_CHUNK = 1 << 25
# Digests of files by what changes when they are written to, unless that was so short ago (in nanoseconds) that the
# file system's clock may not tell two writes apart.
_KNOWN: dict[tuple[int, ...], str] = {}
_RECENT = 2_000_000_000


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; a process does not read an unchanged file twice."""
    with open(path, "rb") as stream:
        found = os.fstat(stream.fileno())
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest = _KNOWN.get(key) or hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _RECENT:
        _KNOWN[key] = digest
    return digest


class _Hash(Protocol):
    def update(self, content: bytes | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


class Digests:
    """Digests that are being computed; as a context, it stops them at its end.

    It does not need torch, so that a command can begin to digest files before it imports the library.

    Args:
        threads: How many files are read at once; as many as there are cores by default.
        hash_name: `sha256` (what `sha256sum` prints) or `blake3` (what `b3sum` prints; more than twice as fast).

    Raises:
        ConfigError: There is no such hash.
    """

    def __init__(self, threads: int | None = None, hash_name: HashName = "sha256") -> None:
        if hash_name not in TITLES:
            raise ConfigError(f"Expected files to be digested with `sha256` or `blake3`, but got `{hash_name}`.")
        self.hash_name = hash_name
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="hamdg-digest")
        self._futures: dict[Path, Future[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def start(self, files: Iterable[Path]) -> None:
        """Begin with these files, unless they were begun before."""
        for file in files:
            if file not in self._futures:
                self._futures[file] = self._pool.submit(self._digest, file)

    def done(self, files: Iterable[Path]) -> bool:
        """Return whether the digests of these files are there."""
        return all(file in self._futures and self._futures[file].done() for file in files)

    def of(self, files: tuple[Path, ...]) -> str:
        """Return the digest of a file, or one of the lines that `sha256sum` (`b3sum`) prints for several.

        Args:
            files: The file, or files of one folder.

        Raises:
            OSError: A file cannot be read.
        """
        self.start(files)
        if len(files) == 1:
            return self._futures[files[0]].result()
        lines = sorted(f"{file.name}  {self._futures[file].result()}\n" for file in files)
        together = self._new()
        together.update("".join(lines).encode())
        return together.hexdigest()

    def _new(self) -> _Hash:
        if self.hash_name == "sha256":
            return hashlib.sha256()
        from blake3 import blake3

        return blake3()

    def _digest(self, file: Path) -> str:
        digest = self._new()
        with open(file, "rb") as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                return digest.hexdigest()
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
                for start in range(0, len(view), _CHUNK):
                    if self._stop.is_set():
                        raise InterruptedError(f"digesting `{file}` was stopped")
                    with view[start : start + _CHUNK] as part:
                        digest.update(part)
        return digest.hexdigest()
