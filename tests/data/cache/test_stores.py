"""Stores are listed as they are, and deleted only where they are not in use."""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock

from hamdg.data.cache import stores as module
from hamdg.data.cache.compressed import CompressedView
from hamdg.data.cache.reader import Store
from hamdg.data.cache.stores import delete, is_used, stores
from hamdg.data.transforms import EvaluationView
from hamdg.errors import StorageError

if TYPE_CHECKING:
    from tests.data.cache.conftest import Files

SQUARE = EvaluationView(16)
ALL = np.arange(24)


def filled(files: Files, cache: Path, view: EvaluationView | CompressedView = SQUARE, count: int = 24) -> Store:
    store = Store(files.listing(), view, cache)
    store.prepare(ALL[:count])
    return store


def test_a_store_says_what_it_holds(files: Files, tmp_path: Path) -> None:
    before = time.time() - 1
    filled(files, tmp_path, count=20)
    (kept,) = stores(tmp_path)
    assert kept.name.endswith("-evaluation-16")
    assert (kept.place, kept.domain, kept.view) == ("memory", "photo", "evaluation-16")
    assert (kept.images, kept.there, kept.outdated) == (24, 20, False)
    assert 20 * 16 * 16 * 3 <= kept.size < 20 * 16 * 16 * 3 + 30_000
    assert before < kept.used < time.time() + 1


def test_no_cache_has_no_stores(tmp_path: Path) -> None:
    assert stores(tmp_path / "nowhere") == []


def test_stores_come_in_the_order_of_their_last_use(files: Files, tmp_path: Path) -> None:
    filled(files, tmp_path)
    filled(files, tmp_path, CompressedView(32))
    for kept, age in zip(stores(tmp_path), (9, 5), strict=True):
        os.utime(kept.folder / "used", (time.time() - age,) * 2)
    first, second = stores(tmp_path)
    assert first.used > second.used
    Store(files.listing(), SQUARE if second.view == "evaluation-16" else CompressedView(32), tmp_path)
    assert [one.name for one in stores(tmp_path)] == [second.name, first.name]


@pytest.mark.parametrize("change", [{"format": 2}, {"pillow": "1.0"}, None])
def test_what_this_version_does_not_use_is_outdated(files: Files, tmp_path: Path, change: dict[str, object]) -> None:
    filled(files, tmp_path)
    about = files.folder_of(tmp_path) / "about.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | change) if change else "[]")
    (kept,) = stores(tmp_path)
    assert (kept.outdated, kept.there, kept.view) == (True, None, "evaluation-16")
    assert delete(kept)


def test_who_reads_a_store_keeps_it_and_who_is_gone_does_not(files: Files, tmp_path: Path) -> None:
    filled(files, tmp_path)
    reader = Store(files.listing(), SQUARE, tmp_path)
    (kept,) = stores(tmp_path)
    assert is_used(kept)
    assert not delete(kept)
    reader.verify(ALL)
    del reader
    gc.collect()
    assert not is_used(kept)
    assert delete(kept)
    assert not kept.folder.exists()
    assert stores(tmp_path) == []


def test_who_has_just_filled_a_store_keeps_it(files: Files, tmp_path: Path) -> None:
    filler = filled(files, tmp_path)
    (kept,) = stores(tmp_path)
    assert not delete(kept)
    assert len(filler) == 24


def test_who_fills_a_store_keeps_it(files: Files, tmp_path: Path) -> None:
    filled(files, tmp_path)
    (kept,) = stores(tmp_path)
    with FileLock(kept.folder / "lock", is_singleton=False):
        assert is_used(kept)
        assert not delete(kept)
    assert not is_used(kept)


def test_a_deleted_store_is_filled_again(files: Files, tmp_path: Path) -> None:
    filled(files, tmp_path)
    assert all(delete(kept) for kept in stores(tmp_path))
    filled(files, tmp_path)
    assert np.bincount(files.reads).tolist() == [2] * 24


def test_a_store_that_is_deleted_meanwhile_is_not_listed(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for view in (SQUARE, CompressedView(32)):
        filled(files, tmp_path, view)
    about = module._about

    def deleted(folder: Path) -> dict[str, object]:
        found = about(folder)
        if folder.name.endswith("evaluation-16"):
            shutil.rmtree(folder)
        return found

    monkeypatch.setattr(module, "_about", deleted)
    assert [kept.view for kept in stores(tmp_path)] == ["compressed-32"]


def test_a_store_that_cannot_be_locked_is_not_said_to_be_in_use(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(files, tmp_path)
    (kept,) = stores(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(StorageError, match=r"^Cannot delete `.*-evaluation-16`: Permission denied\.$"):
        delete(kept)


def test_what_cannot_be_deleted_is_told(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(files, tmp_path)
    (kept,) = stores(tmp_path)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(StorageError, match=r"^Cannot delete `.*-evaluation-16`: Permission denied\.$"):
        delete(kept)
