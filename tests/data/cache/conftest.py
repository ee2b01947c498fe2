"""Images in memory to fill stores with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.data.cache.reader import open_images
from hamdg.data.images import Images
from hamdg.data.transforms import View
from tests.toys import Memory

COUNT = 24


class Files(Memory):
    """Images in memory that remember which of them were read."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        super().__init__(contents)
        self.reads: list[int] = []
        self.before: Callable[[int], None] = lambda _: None
        # Stamps of files that were touched or replaced; all others have 1.
        self.stamps: dict[int, int] = {}

    def content(self, position: int) -> bytes:
        self.before(position)
        self.reads.append(position)
        return super().content(position)

    def stamp(self, position: int) -> int:
        return self.stamps.get(position, 1)

    def opened(self, view: View, cache: Path) -> Images:
        return open_images(self.listing(), view, cache)

    def folder_of(self, cache: Path) -> Path:
        """Return the only store in a cache."""
        (folder,) = (cache / "pictures").iterdir()
        return folder

    def assert_same(self, pictures: Images, view: View, positions: np.ndarray | None = None) -> None:
        """Compare with what is decoded directly, bit for bit."""
        chosen = np.arange(len(self.contents)) if positions is None else positions
        expected = open_images(Files(self.contents).listing(), view).read(chosen)
        read = pictures.read(chosen)
        assert type(read) is type(expected)
        assert len(read) == len(expected)
        assert all(torch.equal(one, other) for one, other in zip(read, expected, strict=True))


def drawn(position: int) -> bytes:
    """Return an image of its own size and pixels."""
    rng = np.random.default_rng(position)
    height, width = rng.integers(10, 40, 2)
    stream = BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def files() -> Files:
    return Files([drawn(position) for position in range(COUNT)])
