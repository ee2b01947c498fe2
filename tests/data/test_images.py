"""Images from arrays and from files, decoded in threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.data import parallel
from hamdg.data.images import ArrayImages, DecodedImages
from hamdg.data.listing import Listing
from hamdg.data.parallel import render_each
from hamdg.data.transforms import EvaluationView, TrainingView
from hamdg.errors import DataError


class Files:
    """Images in memory; `None` stands for a file that may not be read."""

    def __init__(self, contents: list[bytes | None], pause: float = 0.0) -> None:
        self.contents = contents
        self.pause = pause
        self.reads = 0
        self.threads: set[str] = set()
        # Threads that read at the same time, and the most that ever did.
        self.inside = self.most = 0

    def content(self, position: int) -> bytes:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(self.pause)
        self.inside -= 1
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        if (content := self.contents[position]) is None:
            raise PermissionError(13, "Permission denied")
        return content

    def describe(self, position: int) -> str:
        return f"photo/dog/{position}.png"

    @property
    def place(self) -> str:
        return "memory"

    def stamp(self, position: int) -> int:
        return 1


def listed(files: Files) -> Listing:
    count = len(files.contents)
    sizes = np.array([len(content or b"") for content in files.contents], dtype=np.int64)
    return Listing("photo", np.zeros(count, np.int64), [f"dog/{n}.png" for n in range(count)], sizes, files)


def numbered(count: int, size: tuple[int, int] = (9, 6)) -> list[bytes | None]:
    """Return images whose every byte is their position."""
    contents: list[bytes | None] = []
    for position in range(count):
        stream = BytesIO()
        Image.new("RGB", size, (position, position, position)).save(stream, "PNG")
        contents.append(stream.getvalue())
    return contents


@pytest.fixture(params=[1, 4])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(parallel, "usable_cores", lambda: request.param)
    return int(request.param)


def test_arrays_are_copied() -> None:
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    images.flags.writeable = False
    pictures = ArrayImages(images)
    pictures.prepare(np.arange(4))
    read = pictures.read(np.array([2, 0]))
    assert len(pictures) == 4
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read.numpy(), images[[2, 0]])
    read += 1
    assert images[0, 0, 0, 0] == 0


def test_squares_come_stacked_in_the_order_asked_for(cores: int) -> None:
    pictures = DecodedImages(listed(Files(numbered(50))), EvaluationView(8))
    positions = np.random.default_rng(0).integers(0, 50, 60)
    read = pictures.read(positions)
    assert isinstance(read, torch.Tensor)
    assert read.shape == (60, 8, 8, 3)
    assert read[:, 0, 0, 0].tolist() == positions.tolist()
    assert (len(pictures), pictures.read(np.arange(0)).__len__()) == (50, 0)


def test_pictures_for_training_come_as_a_list(cores: int) -> None:
    contents = [*numbered(1, (9, 6)), *numbered(1, (4, 20)), *numbered(30)]
    read = DecodedImages(listed(Files(contents)), TrainingView(5)).read(np.array([1, 0]))
    assert isinstance(read, list)
    assert [tuple(one.shape) for one in read] == [(20, 4, 3), (5, 7, 3)]


def test_many_are_decoded_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    files = Files(numbered(100))
    DecodedImages(listed(files), EvaluationView(64)).read(np.arange(100))
    assert "MainThread" not in files.threads


def test_a_small_batch_is_dealt_out_to_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 6)
    files = Files(numbered(12), pause=0.05)
    DecodedImages(listed(files), EvaluationView(64)).read(np.arange(12))
    assert len(files.threads) == 6
    assert files.most == 6


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_threads_decode_than_this_process_may_use(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 6)
    parallel.limit_threads(limit)
    files = Files(numbered(24), pause=0.01)
    pictures = DecodedImages(listed(files), EvaluationView(64))
    with ThreadPoolExecutor(3) as pool:  # as many batches in the making at a time
        list(pool.map(lambda start: pictures.read(np.arange(start, start + 8)), (0, 8, 16)))
    assert files.most == limit


def test_more_threads_than_cores_are_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    assert parallel.decoding_threads() == 2
    parallel.limit_threads(8)
    assert parallel.decoding_threads() == 2


def test_leaving_early_ends_the_threads_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 4)
    files = Files(numbered(200), pause=0.01)
    with closing(render_each(listed(files), EvaluationView(8), range(200))) as rendered:
        assert next(rendered).position == 0
        assert any(name.startswith("decode") for name in files.threads)
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())
    # Each thread ends the eight images that it is at; what waits behind them is given up.
    assert files.reads < 9 * 8


def test_all_unreadable_pictures_are_counted_and_the_first_are_named(cores: int) -> None:
    contents = numbered(40)
    contents[3] = None
    for position in range(10, 16):
        contents[position] = b"text"
    with pytest.raises(DataError) as caught:
        DecodedImages(listed(Files(contents)), EvaluationView(8)).read(np.arange(40))
    text = str(caught.value)
    assert text.startswith(
        "7 of 40 images of `photo` cannot be read: `photo/dog/3.png` (Permission denied), `photo/dog/10.png` "
        "(no image format that Pillow knows; the file begins with b'text'), "
    )
    assert text.endswith(
        ", and 2 more; delete or replace them (`hamdg data verify` lists all that are damaged), then repeat the "
        "command."
    )


def test_this_process_s_cores_are_used() -> None:
    assert parallel.usable_cores() >= 1
