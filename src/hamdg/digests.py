"""SHA-256 of files, computed by threads of its own while something else goes on."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

# Taken in one go without Python's lock, long enough that waiting for the lock does not count.
_CHUNK = 1 << 25


class Digests:
    """Digests in the making; a context that stops them at its end.

    It does not need torch, so that a command can begin to digest files before it imports the library.

    Args:
        threads: How many files are read at once; as many as there are cores by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="hamdg-sha256")
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
        """Say whether the digests of these files are there."""
        return all(file in self._futures and self._futures[file].done() for file in files)

    def of(self, files: tuple[Path, ...]) -> str:
        """Return the digest of a file, or one of several files that belong together: of what `sha256sum` says of them.

        Args:
            files: The file, or files of one folder.

        Raises:
            OSError: A file cannot be read.
        """
        self.start(files)
        if len(files) == 1:
            return self._futures[files[0]].result()
        lines = sorted(f"{file.name}  {self._futures[file].result()}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _digest(self, file: Path) -> str:
        digest = hashlib.sha256()
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
