"""Filling a store: announced, refused where it does not fit, interrupted, and by two at once."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from filelock import FileLock

from hamdg import console
from hamdg.data import parallel
from hamdg.data.cache import disk
from hamdg.data.cache.files import ROW
from hamdg.data.cache.reader import open_images
from hamdg.data.transforms import EvaluationView, TrainingView
from hamdg.errors import StorageError

if TYPE_CHECKING:
    from tests.data.cache.conftest import Files

SQUARE, WHOLE = EvaluationView(16), TrainingView(20)
COUNT = 24
ALL = np.arange(COUNT)


class Usage(NamedTuple):
    """What `shutil.disk_usage` gives."""

    total: int
    used: int
    free: int


def test_preparing_says_once_what_it_does(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = files.opened(SQUARE, tmp_path)
    pictures.prepare(ALL[:20])
    first = capsys.readouterr().out
    assert first.startswith("    decoding 20 images of `photo` once: 0.0 MB in ")
    assert f"{files.folder_of(tmp_path)}, " in first
    assert first.endswith(" free\n")
    assert first.count("\n") == 1
    pictures.prepare(ALL[:20])
    assert capsys.readouterr().out == ""
    pictures.prepare(ALL)
    assert capsys.readouterr().out.startswith("    decoding 4 images of `photo` once")
    assert sorted(files.reads) == ALL.tolist()


def test_the_disk_for_images_of_many_sizes_is_known_from_their_heads(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = sum(one.numel() for one in open_images(files.listing(), WHOLE).read(ALL))
    assert disk.needed(files.listing(), WHOLE, ALL.tolist()) == pixels
    monkeypatch.setattr(disk, "SAMPLE", 12)
    assert disk.needed(files.listing(), WHOLE, ALL.tolist()) == pytest.approx(pixels, rel=0.3)
    files.opened(WHOLE, tmp_path).prepare(ALL)
    assert (files.folder_of(tmp_path) / "pixels").stat().st_size == pixels


def test_what_does_not_fit_on_the_disk_is_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 18_432))
    with pytest.raises(StorageError) as caught:
        files.opened(EvaluationView(224), tmp_path).prepare(ALL)
    assert str(caught.value) == (
        f"Keeping 24 decoded images of `photo` needs 3.8 MB in `{files.folder_of(tmp_path)}`, where 0.0 MB are free; "
        "free some space, point `HAMDG_CACHE` (or `--data.cache`) to another disk, keep them compressed with "
        "`--data.store=compressed` (at most 0.1 MB), or decode on every reading with `--data.decode_once=false`."
    )
    assert files.reads == []


def test_a_disk_that_fills_up_meanwhile_is_explained_and_what_was_kept_stays(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, pwrite, left = files.opened(WHOLE, tmp_path), os.pwrite, 30

    def filling_up(file: int, content: memoryview, offset: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", filling_up)
        with pytest.raises(StorageError) as caught:
            pictures.prepare(ALL)
    assert str(caught.value) == (
        f"Cannot keep decoded images in `{files.folder_of(tmp_path)}`: No space left on device; images that were "
        "kept before stay. Free some space or make the folder writable, point `HAMDG_CACHE` (or `--data.cache`) to "
        "another disk, or decode on every reading with `--data.decode_once=false`."
    )
    files.assert_same(pictures, WHOLE)


def test_a_disk_may_take_less_at_a_time_than_it_is_given(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: pwrite(file, content[:100], offset))
    files.opened(WHOLE, tmp_path).prepare(ALL)
    files.reads.clear()
    files.assert_same(files.opened(WHOLE, tmp_path), WHOLE)
    assert files.reads == []


def test_a_cache_that_cannot_be_written_is_explained(files: Files, tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("a file, no folder")
    pictures = files.opened(SQUARE, tmp_path)
    for attempt in (pictures.prepare, pictures.read):
        with pytest.raises(StorageError, match=r"^Cannot keep decoded images in `.*`: Not a directory; .*cache"):
            attempt(ALL)


def test_an_interruption_keeps_what_is_done(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)

    def interrupt(position: int) -> None:
        if position == 20:
            raise KeyboardInterrupt

    pictures = files.opened(SQUARE, tmp_path)
    files.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        pictures.prepare(ALL)
    files.before = lambda _: None
    files.reads.clear()
    files.assert_same(files.opened(SQUARE, tmp_path), SQUARE)
    assert sorted(files.reads) == list(range(18, COUNT))  # threads take six at a time


def test_who_comes_second_waits_and_finds_nothing_left_to_do(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = files.opened(SQUARE, tmp_path), files.opened(SQUARE, tmp_path)
    first.prepare(ALL[:1])
    said: list[str] = []
    monkeypatch.setattr(console, "note", said.append)
    with ThreadPoolExecutor(2) as pool:
        with FileLock(files.folder_of(tmp_path) / "lock", is_singleton=False):
            jobs = [pool.submit(one.prepare, ALL) for one in (first, second)]
            while len(said) < 2 and not any(job.done() for job in jobs):
                time.sleep(0.01)
            assert said == ["waiting for another process that decodes images of `photo`"] * 2
            assert files.reads == [0]
        for job in jobs:
            job.result(timeout=20)
    assert [text.split(":")[0] for text in said[2:]] == ["decoding 23 images of `photo` once"]
    assert sorted(files.reads) == ALL.tolist()
    files.assert_same(first, SQUARE)
    files.assert_same(second, SQUARE)


def test_many_readers_at_once_decode_each_image_once(files: Files, tmp_path: Path) -> None:
    readers = [files.opened(WHOLE, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda reader: [reader.read(ALL[start : start + 4]) for start in range(0, COUNT, 4)], readers))
    assert sorted(files.reads) == ALL.tolist()
    for reader in readers:
        files.assert_same(reader, WHOLE)


def test_a_domain_of_domainnet_s_size_opens_at_once(files: Files, tmp_path: Path) -> None:
    many = files.listing().take(np.zeros(172_500, dtype=np.int64))
    open_images(many, SQUARE, tmp_path).prepare(np.array([172_499]))
    begin = time.perf_counter()
    pictures = open_images(many, SQUARE, tmp_path)
    assert time.perf_counter() - begin < 2.0
    assert len(pictures.read(np.array([172_499]))) == 1
    assert files.reads == [0]
    assert (files.folder_of(tmp_path) / "index").stat().st_size == 172_500 * ROW.itemsize < 7e6
    assert (files.folder_of(tmp_path) / "pixels").stat().st_size == 16 * 16 * 3


# Prepares the images of a folder, slowly enough to be killed on the way.
PROGRAM = """
import os, sys, time
from pathlib import Path
import numpy as np
from hamdg.data.listing import Listing
from hamdg.data.cache.reader import open_images
from hamdg.data.transforms import TrainingView

class Slow:
    place = "memory"
    def content(self, position):
        time.sleep(float(sys.argv[3]))
        os.write(1, b"%d\\n" % position)  # whole lines, also from several threads
        return (Path(sys.argv[1]) / f"{position}.png").read_bytes()
    def describe(self, position):
        return str(position)
    def stamp(self, position):
        return 1

count = len(list(Path(sys.argv[1]).iterdir()))
sizes = np.array([(Path(sys.argv[1]) / f"{n}.png").stat().st_size for n in range(count)], dtype=np.int64)
names = [f"dog/{n}.png" for n in range(count)]
listing = Listing("photo", np.zeros(count, np.int64), names, sizes, Slow())
open_images(listing, TrainingView(20), Path(sys.argv[2])).prepare(np.arange(count))
"""


def started(pictures: Path, cache: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(pictures), str(cache), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_by(process: subprocess.Popen[str]) -> list[int]:
    """Return which images a process read, once it has ended well."""
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 0
    return [int(line) for line in said.split("\n") if line.isdigit()]


@pytest.fixture
def on_disk(files: Files, tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for position, content in enumerate(files.contents):
        (folder / f"{position}.png").write_bytes(content)
    return folder


@pytest.mark.slow
def test_a_killed_process_leaves_a_store_that_is_gone_on_with(files: Files, on_disk: Path, tmp_path: Path) -> None:
    process = started(on_disk, tmp_path, 0.1)
    kept = 0
    while kept == 0 and process.poll() is None:
        time.sleep(0.01)
        for index in tmp_path.glob("pictures/*/index"):
            kept = int((np.fromfile(index, ROW)["checksum"] != 0).sum())
    process.kill()
    process.communicate()
    assert 0 < kept < COUNT
    pictures = files.opened(WHOLE, tmp_path)
    pictures.prepare(ALL)
    # Each of the others was read twice: its head, for its size, and then the image.
    assert set(np.bincount(files.reads).tolist()) == {0, 2}
    assert len(files.reads) <= 2 * (COUNT - kept)
    files.assert_same(pictures, WHOLE)


@pytest.mark.slow
def test_two_processes_share_the_work(files: Files, on_disk: Path, tmp_path: Path) -> None:
    both = [started(on_disk, tmp_path, 0.02) for _ in range(2)]
    reads = [read_by(process) for process in both]
    # The first reads heads and images, the second finds them all; or it was too late to wait, which is as good.
    assert sorted(map(len, reads)) == [0, 2 * COUNT]
    pictures = files.opened(WHOLE, tmp_path)
    files.assert_same(pictures, WHOLE)
    assert files.reads == []
