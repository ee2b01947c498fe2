"""The files of a store: pixels behind one another, and an index of where each image lies and what it sums to.

An image is there exactly if its row in the index has a checksum and the pixels that the row points to sum to it. The
pixels are written before the row. So a killed process leaves nothing that could be taken for an image, and a damaged
image (or row) shows itself when it is first read.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from hamdg.data.parallel import Pixels
from hamdg.files import remove_leftovers, write_bytes, write_json

# Bytes from the start of `pixels`, the image's size, and its checksum (none, 0, means no image); the stamp and the
# digest of the file that it was made of.
ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("checksum", "<u8"),
        ("stamp", "<u8"),
        ("content", "<u8"),
    ]
)
_LONGEST = 2**28
# Counts up when the files' form or what a view makes of an image changes.
FORMAT = 4


class StoreFiles:
    """What is kept of one domain's images in one view; reading never writes.

    Args:
        folder: Where the files are.
        about: What the store holds; files that say something else are not used.
        count: How many images the domain has.
        side: Side of the images if all are squares of one size.
        channels: Bytes of a pixel; of files, whose bytes are kept as if they were pixels of a column, 1.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, str | int], count: int, side: int | None, channels: int = 3
    ) -> None:
        self.folder = folder
        self.side = side
        self.channels = channels
        self._about = dict(about)
        self._count = count
        self.rows: NDArray[np.void] = np.zeros(count, ROW)
        self.pixels: Pixels = np.zeros(0, np.uint8)
        # Images whose checksum this process has compared, and those whose files it has looked at.
        self.verified = np.zeros(count, dtype=bool)
        self.current = np.zeros(count, dtype=bool)

    @property
    def pixels_file(self) -> Path:
        """Where the pixels are."""
        return self.folder / "pixels"

    @property
    def index_file(self) -> Path:
        """Where the rows are, one for every image of the domain."""
        return self.folder / "index"

    def load(self) -> bool:
        """Read the index and map the pixels again; `False` (and no image is there) if the files do not fit."""
        try:
            about = json.loads((self.folder / "about.json").read_bytes())
            content = self.index_file.read_bytes()
            pixels = _mapped(self.pixels_file)
        except (OSError, ValueError):
            self._forget()
            return False
        if about != self._about or len(content) != self._count * ROW.itemsize:
            self._forget()
            return False
        rows = np.frombuffer(content, ROW).copy()
        rows[~self._plausible(rows, len(pixels))] = 0
        same = rows == self.rows
        self.verified &= same
        self.current &= same
        self.pixels, self.rows = pixels, rows
        return True

    def create(self) -> None:
        """Start with no image; whoever still reads older files keeps them, since those are replaced, not changed."""
        remove_leftovers(self.folder)
        (self.folder / "about.json").unlink(missing_ok=True)
        write_bytes(self.pixels_file, b"")
        write_bytes(self.index_file, bytes(self._count * ROW.itemsize))
        write_json(self.folder / "about.json", self._about)
        self._forget()

    def image(self, position: int) -> Pixels:
        """Return the pixels `[height, width, channels]` of an image that is there, read-only."""
        offset, height, width = self.rows[position].item()[:3]
        return self.pixels[offset : offset + height * width * self.channels].reshape(height, width, self.channels)

    def intact(self, position: int) -> bool:
        """Return whether an image is there and undamaged."""
        wanted = int(self.rows["checksum"][position])
        return wanted != 0 and wanted == checksum(position, self.image(position))

    def end(self) -> int:
        """Return where the last image ends; what lies behind is of killed processes."""
        return int((self.rows["offset"] + self._lengths(self.rows)).max(initial=0))

    def _forget(self) -> None:
        self.verified[:] = False
        self.current[:] = False
        self.rows = np.zeros(self._count, ROW)
        self.pixels = np.zeros(0, np.uint8)

    def _plausible(self, rows: NDArray[np.void], size: int) -> NDArray[np.bool_]:
        """Return of every row whether it points to an image within the file: after damage it may say anything."""
        longest = np.maximum(rows["height"], rows["width"])
        fits: NDArray[np.bool_] = (rows["checksum"] != 0) & (longest < _LONGEST) & (rows["offset"] <= size)
        lengths = self._lengths(np.where(fits, rows, np.zeros((), ROW)))
        fits &= (lengths > 0) & (rows["offset"] + lengths <= size)
        if self.side is not None:
            fits &= (rows["height"] == self.side) & (rows["width"] == self.side)
            fits &= rows["offset"] % (self.side * self.side * self.channels) == 0
        return fits

    def _lengths(self, rows: NDArray[np.void]) -> NDArray[np.uint64]:
        lengths: NDArray[np.uint64] = rows["height"].astype(np.uint64) * rows["width"] * np.uint64(self.channels)
        return lengths


class Writer:
    """Adds images behind those that are there; only for who has the store's lock.

    Args:
        files: The store, loaded.
    """

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        self._end = files.end()
        self._pixels = os.open(files.pixels_file, os.O_WRONLY)
        try:
            self._index = os.open(files.index_file, os.O_WRONLY)
        except OSError:
            os.close(self._pixels)
            raise

    def add(self, position: int, pixels: Pixels, stamp: int, content: int) -> None:
        """Write an image `[height, width, channels]`, then its row with the stamp and the digest of its file.

        A write through a map would kill the process on a full disk; this one raises `OSError`.
        """
        _write_all(self._pixels, np.ascontiguousarray(pixels).reshape(-1).data, self._end)
        self._write(position, np.array((self._end, *pixels.shape[:2], checksum(position, pixels), stamp, content), ROW))
        self._end += pixels.nbytes

    def stamp(self, position: int, stamp: int) -> None:
        """Give an image whose file has the same contents as before the file's new stamp."""
        row = self._files.rows[position].copy()
        row["stamp"] = stamp
        self._write(position, row)

    def _write(self, position: int, row: NDArray[np.void]) -> None:
        _write_all(self._index, memoryview(row.tobytes()), position * ROW.itemsize)

    def settle(self) -> None:
        """Wait until all is on the disk; some network disks say only then that they are full."""
        os.fsync(self._pixels)
        os.fsync(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._pixels)
        os.close(self._index)


def checksum(position: int, pixels: Pixels) -> int:
    """Return the 64-bit XXH3 of an image, its position and its size; never 0.

    It takes any damage for the image with a chance of one in 2^64, but does not withstand who forges on purpose.
    """
    head = xxhash.xxh3_64_intdigest(struct.pack("<QII", position, *pixels.shape[:2]))
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(pixels).data, head) or 1


def _mapped(path: Path) -> Pixels:
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:  # which cannot be mapped
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _write_all(file: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written
