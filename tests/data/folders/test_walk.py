from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.data.folders.walk import is_image_file, walk

if TYPE_CHECKING:
    from tests.conftest import Deep


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(path.name))


def test_images_of_every_usual_kind_are_found_whatever_the_case_of_their_ending() -> None:
    for name in ("a.jpg", "a.JPEG", "a.b.Png", "a.webp", "a.GIF", "a.tif", "a.bmp", "a.ppm", "ä b.jfif"):
        assert is_image_file(name), name
    for name in (".a.jpg", "a.txt", "jpg", "a.jpg.part", "Thumbs.db"):
        assert not is_image_file(name), name


def test_images_are_collected_with_their_sizes_in_imagefolders_order(tmp_path: Path) -> None:
    write(tmp_path, "b.jpg", "a b/1.jpg", "a/x/1.jpg", "a/2.jpg", "B.jpg", "é.jpg")
    found = walk(tmp_path)
    assert found.files == [
        ("", "B.jpg", 5),
        ("", "b.jpg", 5),
        ("", "é.jpg", 5),
        ("a", "2.jpg", 5),
        ("a b", "1.jpg", 5),
        ("a/x", "1.jpg", 5),
    ]
    assert found.unreadable == []
    assert found.ignored == 0
    assert set(found.visited) == {str(tmp_path / name) for name in ("", "a", "a b", "a/x")}


def test_other_files_are_counted_and_what_systems_leave_behind_is_not(tmp_path: Path) -> None:
    write(tmp_path, "list.txt", "a/notes.md", "Thumbs.db", ".DS_Store", ".hidden.jpg")
    write(tmp_path, "__MACOSX/a.jpg", ".ipynb_checkpoints/b.jpg", "a/c.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = walk(tmp_path)
    assert found.files == [("a", "c.jpg", 5)]
    assert found.ignored == 3


def test_links_are_followed_and_a_folder_inside_itself_is_entered_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(inside, "a.jpg", "deep/b.jpg")
    write(outside, "c.jpg")
    (inside / "linked").symlink_to(outside)
    (inside / "d.jpg").symlink_to(outside / "c.jpg")
    (inside / "deep" / "loop").symlink_to(inside)
    assert walk(inside).files == [("", "a.jpg", 5), ("", "d.jpg", 5), ("deep", "b.jpg", 5), ("linked", "c.jpg", 5)]


def test_a_folder_that_is_called_like_a_image_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "odd.jpg/a.jpg")
    assert walk(tmp_path).files == [("odd.jpg", "a.jpg", 5)]


def test_a_link_to_nothing_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert walk(tmp_path).unreadable == [(str(tmp_path / "gone.jpg"), "No such file or directory")]


def test_a_folder_without_permission_is_unreadable_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "locked/a.jpg", "open/b.jpg")
    opened = os.open

    def guarded(path: str, flags: int) -> int:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags)

    monkeypatch.setattr("hamdg.data.folders.walk.os.open", guarded)
    found = walk(tmp_path)
    assert found.unreadable == [(str(tmp_path / "locked"), "Permission denied")]
    assert found.files == [("open", "b.jpg", 5)]


def test_folders_may_be_very_deep(tmp_path: Path, deep: Deep) -> None:
    deep(tmp_path / "a", 1100)
    found = walk(tmp_path)
    assert [(inner.count("/"), name) for inner, name, _ in found.files] == [(1100, "1.jpg")]
    assert len(found.visited) == 1102
    assert found.unreadable == []
