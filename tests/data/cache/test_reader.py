"""The store: decoded once, the same bits, and nothing that a crash, damage or a full disk could spoil."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from hamdg.data.cache import writer
from hamdg.data.cache.files import ROW, StoreFiles, checksum
from hamdg.data.cache.reader import open_images
from hamdg.data.listing import Listing
from hamdg.data.transforms import EvaluationView, TrainingView, View
from hamdg.errors import DataError
from tests.data.cache.conftest import Files, drawn

SQUARE, WHOLE = EvaluationView(16), TrainingView(20)
COUNT = 24
ALL = np.arange(COUNT)
Usage = namedtuple("Usage", "total used free")
Bytes = NDArray[np.uint8]


def flip(path: Path, offset: int) -> None:
    """Damage one byte."""
    with open(path, "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("view", [SQUARE, WHOLE])
def test_kept_images_are_those_decoded_directly_and_no_file_is_read_again(
    files: Files, view: View, tmp_path: Path
) -> None:
    files.opened(view, tmp_path).prepare(ALL)
    assert sorted(set(files.reads)) == ALL.tolist()
    files.reads.clear()
    again = files.opened(view, tmp_path)
    files.assert_same(again, view)
    files.assert_same(again, view, np.array([5, 3, 5, 23]))
    assert len(again.read(ALL[:0])) == 0
    assert len(again) == COUNT
    assert files.reads == []


@pytest.mark.parametrize("view", [SQUARE, WHOLE])
def test_what_was_not_prepared_is_decoded_when_it_is_read(
    files: Files, view: View, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = files.opened(view, tmp_path)
    files.assert_same(pictures, view, np.array([7, 2]))
    files.assert_same(pictures, view, np.array([2, 9]))
    assert sorted(files.reads) == [2, 7, 9]
    assert capsys.readouterr().out == ""


def test_what_is_read_belongs_to_the_reader(files: Files, tmp_path: Path) -> None:
    for view in (SQUARE, WHOLE):
        pictures = files.opened(view, tmp_path)
        for one in pictures.read(ALL):
            one.zero_()
        files.assert_same(pictures, view)


def test_parts_and_other_orders_have_stores_of_their_own(files: Files, tmp_path: Path) -> None:
    whole = files.listing()
    for positions in (ALL, ALL[::3], ALL[::-1], ALL):
        part = whole.take(positions)
        pictures = open_images(part, SQUARE, tmp_path)
        pictures.prepare(np.arange(len(part)))
        expected = open_images(part, SQUARE).read(np.arange(len(part)))
        assert isinstance(expected, Tensor)
        assert torch.equal(torch.as_tensor(pictures.read(np.arange(len(part)))), expected)


def test_a_damaged_image_is_noticed_and_decoded_again(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    flip(files.folder_of(tmp_path) / "pixels", 5 * 16 * 16 * 3 + 100)
    capsys.readouterr()
    files.reads.clear()
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)
    assert files.reads == [5]
    assert capsys.readouterr().out == (
        f"    1 of the decoded images of `photo` in {files.folder_of(tmp_path)} were damaged; they are decoded again\n"
    )
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)
    assert files.reads == [5]


@pytest.mark.parametrize("view", [SQUARE, WHOLE])
@pytest.mark.parametrize("seed", range(8))
def test_no_damage_to_any_file_gives_a_wrong_image(files: Files, view: View, seed: int, tmp_path: Path) -> None:
    files.opened(view, tmp_path).prepare(ALL)
    rng = np.random.default_rng(seed)
    for path in files.folder_of(tmp_path).iterdir():
        for offset in rng.integers(0, max(path.stat().st_size, 1), 20).tolist() if path.stat().st_size else []:
            flip(path, offset)
    files.assert_same(files.opened(view, tmp_path), view)


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def ones(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize("damage", [garbage, cut, ones, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["pixels", "index", "about.json"])
@pytest.mark.parametrize("view", [SQUARE, WHOLE])
def test_files_that_do_not_fit_are_not_trusted(
    files: Files, view: View, name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    files.opened(view, tmp_path).prepare(ALL)
    damage(files.folder_of(tmp_path) / name)
    pictures = files.opened(view, tmp_path)
    files.assert_same(pictures, view)
    pictures.prepare(ALL)
    files.reads.clear()
    files.assert_same(files.opened(view, tmp_path), view)
    assert files.reads == []


@pytest.mark.parametrize("view", [SQUARE, WHOLE])
def test_data_sets_in_different_places_share_no_pixels(files: Files, view: View, tmp_path: Path) -> None:
    files.opened(view, tmp_path).prepare(ALL)
    # Of the same names, sizes and labels, but with other images.
    other = Files([*files.contents[1:], files.contents[0]])
    sizes = files.listing().sizes
    for place in ("elsewhere", "memory"):
        other.place = place
        other.stamps = dict.fromkeys(range(COUNT), 2)
        listing = Listing("photo", np.zeros(COUNT, np.int64), list(files.listing().names), sizes, other)
        assert listing.fingerprint == files.listing().fingerprint
        other.assert_same(open_images(listing, view, tmp_path), view)
    files.assert_same(files.opened(view, tmp_path), view)
    assert len(list((tmp_path / "pictures").iterdir())) == 2


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("stamp", [2, 0])
def test_a_file_that_was_replaced_by_one_of_its_size_is_decoded_again(
    files: Files, prepared: bool, stamp: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.opened(WHOLE, tmp_path).prepare(ALL)
    sizes = files.listing().sizes
    files.contents[5] = drawn(105)
    files.stamps = {5: stamp}
    capsys.readouterr()
    listing = Listing("photo", np.zeros(COUNT, np.int64), list(files.listing().names), sizes, files)
    for said in ("    1 images of `photo` were replaced since they were decoded; they are decoded again\n", ""):
        pictures = open_images(listing, WHOLE, tmp_path)
        if prepared:
            pictures.prepare(ALL)
        files.assert_same(pictures, WHOLE)
        assert capsys.readouterr().out.startswith(said)
        assert bool(said) == ("replaced" in said)


def test_a_file_that_was_only_touched_is_read_once_and_not_decoded(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    files.stamps = {5: 2}
    files.reads.clear()
    monkeypatch.setattr(EvaluationView, "make", None)
    for _ in range(2):
        files.opened(SQUARE, tmp_path).prepare(ALL)
    assert files.reads == [5]


def test_files_without_a_stamp_are_compared_by_every_process(files: Files, tmp_path: Path) -> None:
    files.stamps = {5: 0}
    files.opened(SQUARE, tmp_path).prepare(ALL)
    files.reads.clear()
    for _ in range(2):
        pictures = files.opened(SQUARE, tmp_path)
        pictures.prepare(ALL)
        pictures.read(ALL)
    assert files.reads == [5, 5]


def test_a_cache_that_cannot_be_written_is_read_though_files_were_touched(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    files.stamps = {5: 2}

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)


def test_a_damaged_row_does_not_shift_what_is_kept_later(files: Files, tmp_path: Path) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    path = files.folder_of(tmp_path) / "index"
    rows = np.fromfile(path, ROW)
    rows["offset"][-1] -= 1
    rows.tofile(path)
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)
    assert (files.folder_of(tmp_path) / "pixels").stat().st_size == COUNT * 16 * 16 * 3


def test_what_was_verified_is_verified_again_where_another_process_has_written_it_again(
    files: Files, tmp_path: Path
) -> None:
    first, second = files.opened(SQUARE, tmp_path), files.opened(SQUARE, tmp_path)
    first.read(ALL[:20])
    (files.folder_of(tmp_path) / "about.json").unlink()
    second.prepare(ALL[10:20])
    second.prepare(ALL[:10])
    flip(files.folder_of(tmp_path) / "pixels", 100)
    first.read(ALL[20:])
    files.assert_same(first, SQUARE)


def test_checksums_are_compared_once_a_process(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = files.opened(SQUARE, tmp_path)
    pictures.prepare(ALL)
    pictures.read(ALL[:10])
    monkeypatch.setattr(StoreFiles, "intact", None)
    pictures.read(ALL[:10])
    with pytest.raises(TypeError):
        pictures.read(ALL[9:11])


def test_a_checksum_is_never_what_stands_for_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xxhash.xxh3_64_intdigest", lambda *_: 0)
    assert checksum(0, np.zeros((1, 1, 3), dtype=np.uint8)) == 1


def flipped(content: Bytes) -> Bytes:
    return np.concatenate([content[:-1], content[-1:] ^ 0x80])


def swapped(content: Bytes) -> Bytes:
    """Swap two words of 8 bytes that lie in one column of many sums one could take."""
    words = content[: len(content) // 8 * 8].reshape(-1, 8).copy()
    words[[0, 1024]] = words[[1024, 0]]
    return np.concatenate([words.reshape(-1), content[words.size :]])


def zeroed(content: Bytes) -> Bytes:
    return np.concatenate([content[:4096], np.zeros(4096, np.uint8), content[8192:]])


def torn(content: Bytes) -> Bytes:
    """Return what an interrupted write may leave: the end is of what lay there before."""
    return np.concatenate([content[:8192], content[: len(content) - 8192]])


@pytest.mark.parametrize("damage", [flipped, swapped, zeroed, torn, lambda content: np.roll(content, 1)])
@pytest.mark.parametrize("size", [(64, 64), (63, 67)])
def test_damage_of_any_kind_changes_the_checksum(size: tuple[int, int], damage: Callable[[Bytes], Bytes]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    damaged = damage(pixels.reshape(-1)).reshape(pixels.shape)

    assert not np.array_equal(damaged, pixels)
    assert checksum(3, damaged) != checksum(3, pixels) == checksum(3, pixels.copy())


def test_a_checksum_is_of_one_position_and_size() -> None:
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    found = {checksum(*each) for each in ((0, pixels), (1, pixels), (0, pixels.reshape(6, 4, 3)), (0, pixels[:, :5]))}

    assert len(found) == 4


def test_leftovers_of_killed_processes_are_removed(files: Files, tmp_path: Path) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    names = sorted(path.name for path in files.folder_of(tmp_path).iterdir())
    (files.folder_of(tmp_path) / "about.json").rename(files.folder_of(tmp_path) / ".about.json-x7.tmp.json")
    files.opened(SQUARE, tmp_path).prepare(ALL)
    assert sorted(path.name for path in files.folder_of(tmp_path).iterdir()) == names


def test_a_row_that_swaps_height_and_width_is_noticed(files: Files, tmp_path: Path) -> None:
    files.opened(WHOLE, tmp_path).prepare(ALL)
    path = files.folder_of(tmp_path) / "index"
    rows = np.fromfile(path, ROW)
    rows["height"], rows["width"] = rows["width"].copy(), rows["height"].copy()
    rows.tofile(path)
    files.assert_same(files.opened(WHOLE, tmp_path), WHOLE)


def test_pixels_of_another_pillow_are_not_used(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    files.reads.clear()
    monkeypatch.setattr("PIL.__version__", "999.0")
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)
    assert sorted(files.reads) == ALL.tolist()
    assert json.loads((files.folder_of(tmp_path) / "about.json").read_text())["pillow"] == "999.0"


def test_who_reads_older_files_keeps_them_when_they_are_replaced(files: Files, tmp_path: Path) -> None:
    first = files.opened(SQUARE, tmp_path)
    first.prepare(ALL)
    (files.folder_of(tmp_path) / "about.json").unlink()
    files.opened(SQUARE, tmp_path).prepare(ALL[:3])
    files.assert_same(first, SQUARE)
    shutil.rmtree(tmp_path / "pictures")
    files.assert_same(first, SQUARE)


def test_unreadable_images_are_named_and_all_others_are_kept(files: Files, tmp_path: Path) -> None:
    good = list(files.contents)
    files.contents[3], files.contents[8] = b"text", good[8][:-40]
    pictures = files.opened(SQUARE, tmp_path)
    with pytest.raises(DataError, match=r"^2 of 24 images of `photo` cannot be read: `photo/dog/3.png` \(no image"):
        pictures.prepare(ALL)
    readable = np.delete(ALL, [3, 8])
    files.reads.clear()
    files.assert_same(pictures, SQUARE, readable)
    assert files.reads == []
    with pytest.raises(DataError, match=r"^1 of 1 images of `photo` cannot be read: `photo/dog/8.png` \(image file is"):
        pictures.read(np.array([7, 8]))
    files.contents[:] = good
    files.assert_same(pictures, SQUARE)


def test_an_image_that_was_replaced_by_none_stays_refused(files: Files, tmp_path: Path) -> None:
    listing = files.listing()
    open_images(listing, SQUARE, tmp_path).prepare(ALL)
    files.contents[3], files.stamps = b"text", {3: 2}
    pictures = open_images(listing, SQUARE, tmp_path)
    for attempt in (pictures.prepare, pictures.prepare, pictures.read, pictures.read):
        with pytest.raises(DataError, match=r"images of `photo` cannot be read: `photo/dog/3\.png` \(no image"):
            attempt(ALL)


def test_a_full_store_is_read_without_writing(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.opened(SQUARE, tmp_path).prepare(ALL)
    monkeypatch.setattr(writer, "FileLock", None)
    monkeypatch.setattr(os, "pwrite", None)
    pictures = files.opened(SQUARE, tmp_path)
    pictures.prepare(ALL)
    files.assert_same(pictures, SQUARE)
