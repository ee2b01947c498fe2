"""All images of one domain: their labels and names in a fixed order, without one of them being opened."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from hamdg.config.data import Truncated

Integers = NDArray[np.int64]

# Nanoseconds after which a change shows in a file's times.
SETTLED = 2_000_000_000


class Source(Protocol):
    """Where the bytes of images come from."""

    def content(self, position: int) -> bytes:
        """Return an image's file.

        Raises:
            OSError: If it cannot be read.
        """

    def describe(self, position: int) -> str:
        """Return how messages name an image."""

    @property
    def place(self) -> str:
        """Return where the images are; two sets of images never have the same place at the same time."""

    def stamp(self, position: int) -> int:
        """Return a number that changes when an image's file is written or replaced; 0 where that is not known yet.

        Raises:
            OSError: If the file cannot be looked at.
        """


def stamp_of(status: os.stat_result) -> int:
    """Return the stamp of a file: of its size, and of when its contents and its entry were changed last.

    The time of the entry cannot be set, so that a file which is put in the place of another shows even where both have
    the same size and modification time. What was changed just now may be changed again within the same tick of the
    file system's clock: it has no stamp yet.
    """
    if time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) < SETTLED:
        return 0
    words = struct.pack("<qqq", status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return xxhash.xxh3_64_intdigest(words) or 1


class Names(Sequence[str]):
    """Names that are made when they are asked for."""

    @abstractmethod
    def name(self, position: int) -> str:
        """Return the name at a position from 0 on."""

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> str | list[str]:
        """Return a name, or several."""
        if isinstance(position, slice):
            return [self.name(one) for one in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return self.name(position % len(self))


class NameTable(Names):
    """Many names in one block of bytes: as Python strings, those of half a million images would fill 60 MB.

    Args:
        block: All names, one after the other.
        ends: Where each name ends in it.
    """

    def __init__(self, block: bytes, ends: Integers) -> None:
        self.block = block
        self.ends = ends

    @classmethod
    def pack(cls, names: Sequence[str]) -> NameTable:
        """Pack names as the file system gives them."""
        text = "".join(names)
        block = os.fsencode(text)
        parts = names if len(block) == len(text) else [os.fsencode(name) for name in names]
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), dtype=np.int64)
        return cls(block, ends)

    def raw(self, position: int) -> bytes:
        """Return a name as the file system has it."""
        start = int(self.ends[position - 1]) if position else 0
        return self.block[start : int(self.ends[position])]

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self.ends)

    def name(self, position: int) -> str:
        r"""Return a name; bytes that are not UTF-8 are written as `\xff`, so that every name can be printed."""
        return self.raw(position).decode("utf-8", "backslashreplace")

    def __iter__(self) -> Iterator[str]:
        """Yield the names one by one."""
        start = 0
        for end in self.ends.tolist():
            yield self.block[start:end].decode("utf-8", "backslashreplace")
            start = end


class NameSubset(Names):
    """Some names of others, in an order of their own.

    Args:
        names: All names.
        positions: Which of them.
    """

    def __init__(self, names: Sequence[str], positions: Integers) -> None:
        self._names = names
        self._positions = positions

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._positions)

    def name(self, position: int) -> str:
        """Return a name."""
        return self._names[int(self._positions[position])]


class Listing:
    """The images of one domain in their fixed order: by label, then by name, as DomainBed has them.

    Args:
        domain: The domain.
        labels: The label of every image.
        names: The path of every image relative to its domain, or what else names it.
        sizes: The size of every image's file in bytes.
        source: What reads them.
        positions: Where these images are among those of `source`; `None` where they are all of them.
        sample: Returns a digest of some contents, where names do not identify the images.
        truncated: What becomes of images whose files are cut off.
    """

    def __init__(
        self,
        domain: str,
        labels: Integers,
        names: Sequence[str],
        sizes: Integers,
        source: Source,
        positions: Integers | None = None,
        sample: Callable[[], str] | None = None,
        truncated: Truncated = "refuse",
    ) -> None:
        self.domain = domain
        self.labels = labels
        self.names = names
        self.sizes = sizes
        self._source = source
        self._positions = positions
        self._sample = sample
        self.truncated = truncated

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the domain and, in their order, lines of path, size and label; no file is opened for it.

        Of a table's images, which have no names, a few are read.

        The order counts, because positions mean images: in splits, and in what is kept of decoded images. So does
        whether truncated files are read, which makes other images of them.
        """
        rows = zip(self.names, self.sizes.tolist(), self.labels.tolist(), strict=True)
        lines = (f"{name}\t{size}\t{label}\n" for name, size, label in rows)
        sample = self._sample() if self._sample is not None else ""
        digest = hashlib.sha256(f"{self.domain}\n{sample}".encode())
        if self.truncated == "read":
            digest.update(b"truncated files are read\n")
        digest.update("".join(lines).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def content(self, position: int) -> bytes:
        """Return the whole file of an image.

        Raises:
            OSError: If it cannot be read.
        """
        return self._source.content(self._original(position))

    def describe(self, position: int) -> str:
        """Return how messages name an image: its path, or its row in a table."""
        return self._source.describe(self._original(position))

    @property
    def place(self) -> str:
        """Return where the images are: their domain's folder without links, or the data set that has them."""
        return self._source.place

    @property
    def key(self) -> str:
        """Return a SHA-256 that names what caches keep of these images: of which ones they are, and where."""
        return hashlib.sha256(f"{self.fingerprint}\n{self.place}".encode()).hexdigest()

    def stamp(self, position: int) -> int:
        """Return a number that changes when an image's file is written or replaced; 0 where that is not known yet.

        Raises:
            OSError: If the file cannot be looked at.
        """
        return self._source.stamp(self._original(position))

    def take(self, positions: NDArray[np.int64] | Sequence[int]) -> Listing:
        """Return some of the images, in the order given; it has a fingerprint of its own."""
        chosen = np.asarray(positions, dtype=np.int64)
        original = chosen if self._positions is None else self._positions[chosen]
        names = NameSubset(self.names, chosen)
        sizes = self.sizes[chosen]
        labels = self.labels[chosen]
        return Listing(self.domain, labels, names, sizes, self._source, original, self._sample, self.truncated)

    def with_truncated(self, truncated: Truncated) -> Listing:
        """Return the same images, with what becomes of those whose files are cut off."""
        facts = (self.labels, self.names, self.sizes, self._source, self._positions, self._sample)
        return self if truncated == self.truncated else Listing(self.domain, *facts, truncated)

    def _original(self, position: int) -> int:
        return position if self._positions is None else int(self._positions[position])
