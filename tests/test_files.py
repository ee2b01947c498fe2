from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError, StorageError
from hamdg.files import (
    atomic_folder,
    atomic_path,
    cache_folder,
    every_folder,
    free_bytes,
    link_if_there,
    needed_cache,
    user_path,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from tests.conftest import Deep


def test_the_file_appears_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.json"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert temporary.parent == target.parent
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["a.json"]


def test_the_suffix_is_kept_for_writers_that_look_at_it(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_takes_no_file_is_an_error_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=r"a\.txt'$") as caught:
        write_text(tmp_path / "a.txt", "")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_the_permissions_are_those_of_a_plain_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "a.txt", "")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "the quota is used up"),
        (OSError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError("IoError(Os { code: 27, kind: FileTooLarge })"), "the file is too large"),
    ],
)
def test_a_full_disk_is_a_sentence(tmp_path: Path, error: OSError, reason: str) -> None:
    target = tmp_path / "snapshot.safetensors"
    target.write_text("old")
    with pytest.raises(StorageError) as caught, atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    message = str(caught.value)
    assert message.startswith(f"Cannot write `{target}`: {reason} (")
    assert "MiB free); nothing was left half-written. Free some space or choose another disk" in message
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_really_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the disk is full"), atomic_path(tmp_path / "snapshot"):
        Path("/dev/full").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "missing").read_text()
    (tmp_path / "file").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)):
        write_text(tmp_path / "file" / "a", "x")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_linked_or_copied_and_one_that_has_gone_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(self))

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source, target = tmp_path / "there", tmp_path / "new" / "here"
    source.write_text("weights")
    assert link_if_there(source, target)
    assert target.read_text() == "weights"
    assert target.samefile(source) == has_links
    source.unlink()
    assert not link_if_there(source, target)
    assert not list(target.parent.iterdir())


def test_json_round_trips_and_refuses_what_json_has_not(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": [1, 2.5, None]}
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": [1, 2.5, None]}


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAMDG_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("HAMDG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared" / "hamdg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hamdg"
    assert cache_folder("given") == needed_cache("given") == Path("given")


@pytest.mark.parametrize("variable", ["HAMDG_CACHE", "XDG_CACHE_HOME"])
def test_a_cache_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        needed_cache(str(tmp_path / "file"))
    place = f"{tmp_path}/file"
    assert str(caught.value) == f"`data.cache` is `{place}`, but `{place}` is not a folder; name another one."
    monkeypatch.delenv("HAMDG_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match=r"^`HAMDG_CACHE` is `.*below(/hamdg)?`, but `.*/file` is not a folder"):
        needed_cache()


def test_a_home_folder_that_nobody_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        user_path("~nouser/x", "data.root")
    assert str(caught.value) == (
        "`data.root` is `~nouser/x`, but `~nouser` has no home folder here; write the path out."
    )
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/x", "data.root") == Path("/somewhere/x")
    monkeypatch.setenv("HAMDG_CACHE", "~nouser")
    with pytest.raises(ConfigError, match=r"^`HAMDG_CACHE` is `~nouser`, but"):
        cache_folder()


def test_names_that_are_not_utf_8_are_written_out(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "größe caf\udce9")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "größe caf\\udce9"


def test_every_folder_is_found_however_deep(tmp_path: Path, deep: Deep) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    deepest = deep(tmp_path / "a", 1100)
    found = dict(every_folder(tmp_path))
    assert len(found) == 1102
    assert found[str(tmp_path)] == ["link"]
    assert found[str(deepest)] == ["1.jpg"]


def test_free_bytes_of_a_folder_that_is_not_there_yet_are_those_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = {tmp_path: SimpleNamespace(free=123)}
    monkeypatch.setattr("shutil.disk_usage", usage.get)
    assert free_bytes(tmp_path / "a" / "b") == 123


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "above" / "folder"
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []
    # What a killed process left.
    (target.parent / ".folder.tmp").mkdir()
    (target.parent / ".folder.tmp" / "old").write_text("half")
    with atomic_folder(target) as folder:
        (folder / "a").write_text("whole")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["folder"]
    assert [path.name for path in target.iterdir()] == ["a"]


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(FileExistsError), atomic_folder(target) as folder:
        target.mkdir()
        (target / "mine").write_text("mine")
        (folder / "a").write_text("other")
    with pytest.raises(FileExistsError), atomic_folder(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (target / "mine").read_text() == "mine"
