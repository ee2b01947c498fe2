"""The digest of contents: the same wherever images lie, and another one as soon as one of them differs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from hamdg.data import contents, listing
from hamdg.data.contents import contents_digest
from hamdg.data.folders.scan import FolderSource
from hamdg.data.listing import Listing, NameTable, stamp_of

COUNT = 6


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMDG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photo"
    folder.mkdir()
    for position in range(COUNT):
        (folder / f"{position}.bmp").write_bytes(bytes([position] * 9))
    return folder


def opened(folder: Path, count: int = COUNT) -> Listing:
    names = NameTable.pack([f"{position % COUNT}.bmp" for position in range(count)])
    return Listing("photo", np.zeros(count, np.int64), names, np.full(count, 9), FolderSource(folder, names))


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as unchanged for long."""
    monkeypatch.setattr(listing, "SETTLED", 0)


def test_it_is_the_same_elsewhere_and_differs_with_one_byte(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert contents_digest(opened(moved)) == contents_digest(opened(folder))
    (moved / "3.bmp").write_bytes(bytes([3] * 8 + [4]))
    assert opened(moved).fingerprint == opened(folder).fingerprint
    assert contents_digest(opened(moved)) != contents_digest(opened(folder))


def test_nothing_is_read_again_until_a_file_is_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    first = contents_digest(opened(folder))
    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "content", None)
        assert contents_digest(opened(folder)) == first
    times = (folder / "3.bmp").stat()
    time.sleep(0.02)
    (folder / "3.bmp").write_bytes(bytes([3] * 8 + [4]))
    os.utime(folder / "3.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert contents_digest(opened(folder)) != first


def test_what_was_changed_just_now_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    contents_digest(opened(folder))
    assert not (tmp_path / "cache").exists()
    assert stamp_of((folder / "3.bmp").stat()) == 0


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"stamps": 1}', b"\xff"])
def test_a_damaged_memory_is_not_trusted(
    folder: Path, tmp_path: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first = contents_digest(opened(folder))
    (file,) = (tmp_path / "cache" / "contents").iterdir()
    file.write_bytes(damage)
    assert contents_digest(opened(folder)) == first


def test_a_cache_that_cannot_be_written_does_no_harm(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    (tmp_path / "cache").write_text("a file, no folder")
    assert contents_digest(opened(folder)) == contents_digest(opened(folder))


def test_of_a_large_domain_a_sample_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def content(_: FolderSource, position: int) -> bytes:
        read.append(position)
        return b""

    monkeypatch.setattr(FolderSource, "content", content)
    contents_digest(opened(folder, contents.WHOLE))
    assert len(set(read)) == len(read) == contents.SAMPLE
    assert (min(read), max(read)) == (0, contents.WHOLE - 1)


def test_a_file_that_cannot_be_read_is_left_to_who_decodes_it(folder: Path) -> None:
    first = contents_digest(opened(folder))
    (folder / "3.bmp").unlink()
    assert contents_digest(opened(folder)) != first
