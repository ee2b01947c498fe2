"""Toys for tests of data: a small benchmark in folders, encoded images, and images in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hamdg.data.benchmark import Benchmark, Version
from hamdg.data.listing import Listing

FULL = {"real": (2, 1), "sketch": (1, 2)}
CUT = FULL | {"sketch": (1, 1)}


def version(name: str, counts: Mapping[str, tuple[int, ...]], note: str = "") -> Version:
    """Return a published copy with as many images of each class."""
    return Version(name, {domain: sum(own) for domain, own in counts.items()}, counts, note)


TOYS = Benchmark(
    name="toys",
    title="Toys",
    domains=("real", "sketch"),
    classes=("cat", "dog"),
    folders=("Toys",),
    versions=(version("as in the papers", FULL), version("cut", CUT, "One sketch is missing.")),
)


def encoded(
    size: tuple[int, int] = (6, 4), color: str | tuple[int, int, int] = "black", mode: str = "RGB", **options: object
) -> bytes:
    """Return the file of an image of one color; a PNG unless `options` name another format."""
    stream = BytesIO()
    Image.new(mode, size, color if mode == "RGB" else 0).save(stream, **({"format": "PNG"} | options))  # type: ignore[arg-type]
    return stream.getvalue()


def numbered(count: int, size: tuple[int, int] = (9, 6)) -> list[bytes]:
    """Return images whose every byte is their position."""
    return [encoded(size, (position, position, position)) for position in range(count)]


def write(file: Path, size: tuple[int, int] = (30, 20)) -> None:
    """Write the file of an image, and the folders above."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(size))


def grow(root: Path) -> Path:
    """Write a complete copy of the toys, every image another, and return its folder."""
    for domain, counts in FULL.items():
        for name, count in zip(TOYS.classes, counts, strict=True):
            for number in range(count):
                write(root / "Toys" / domain / name / f"{number}.png", (6 + number, 4))
    return root / "Toys"


class Memory:
    """Images in memory, some of which may not be read."""

    def __init__(self, contents: Sequence[bytes] = (), unreadable: Collection[int] = ()) -> None:
        self.contents = list(contents)
        self.unreadable = unreadable
        self.place = "memory"

    def content(self, position: int) -> bytes:
        if position in self.unreadable:
            raise PermissionError(13, "Permission denied")
        return self.contents[position]

    def describe(self, position: int) -> str:
        return f"photo/dog/{position}.png"

    def stamp(self, position: int) -> int:
        return 1

    def listing(self, labels: Sequence[int] = ()) -> Listing:
        """List the images as those of a domain `photo`, all of class 0 unless labels are given."""
        sizes = np.array([len(content) for content in self.contents], np.int64)
        names = [f"dog/{position}.png" for position in range(len(sizes))]
        own = np.array(labels, np.int64) if labels else np.zeros(len(sizes), np.int64)
        return Listing("photo", own, names, sizes, self)
