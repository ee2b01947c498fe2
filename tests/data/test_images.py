"""Images from arrays and from files, decoded in threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hamdg.data import parallel
from hamdg.data.images import ArrayImages, DecodedImages
from hamdg.data.transforms import EvaluationView, TrainingView
from hamdg.errors import DataError
from tests.toys import Memory, numbered


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
    pictures = DecodedImages(Memory(numbered(50)).listing(), EvaluationView(8))
    positions = np.random.default_rng(0).integers(0, 50, 60)
    read = pictures.read(positions)
    assert isinstance(read, torch.Tensor)
    assert read.shape == (60, 8, 8, 3)
    assert read[:, 0, 0, 0].tolist() == positions.tolist()
    assert (len(pictures), pictures.read(np.arange(0)).__len__()) == (50, 0)


def test_images_for_training_come_as_a_list(cores: int) -> None:
    contents = [*numbered(1, (9, 6)), *numbered(1, (4, 20)), *numbered(30)]
    read = DecodedImages(Memory(contents).listing(), TrainingView(5)).read(np.array([1, 0]))
    assert isinstance(read, list)
    assert [tuple(one.shape) for one in read] == [(20, 4, 3), (5, 7, 3)]


def test_all_unreadable_images_are_counted_and_the_first_are_named(cores: int) -> None:
    contents = numbered(40)
    for position in range(10, 16):
        contents[position] = b"text"
    with pytest.raises(DataError) as caught:
        DecodedImages(Memory(contents, unreadable={3}).listing(), EvaluationView(8)).read(np.arange(40))
    text = str(caught.value)
    assert text.startswith(
        "7 of 40 images of `photo` cannot be read: `photo/dog/3.png` (Permission denied), `photo/dog/10.png` "
        "(no image format that Pillow knows; the file begins with b'text'), "
    )
    assert text.endswith(
        ", and 2 more; delete or replace them (`hamdg data verify` lists all that are damaged), then repeat the "
        "command."
    )
