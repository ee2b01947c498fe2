from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from hamdg import digests
from hamdg.digests import Digests, sha256_file


def test_a_digest_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_CHUNK", 1000)
    contents = {"a": b"", "b": b"x", "c": bytes(range(256)) * 20, "d": b"y" * 1000}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with Digests(2) as running:
        running.start(tmp_path / name for name in contents)
        for name, content in contents.items():
            assert running.of((tmp_path / name,)) == hashlib.sha256(content).hexdigest() == sha256_file(tmp_path / name)
        assert running.done(tmp_path / name for name in contents)
        assert not running.done([tmp_path / "other"])


def test_files_that_belong_together_have_one_digest_in_any_order(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    # What `sha256sum 1 2` prints (two spaces between digest and name), turned around, digested again.
    lines = f"1  {hashlib.sha256(b'one').hexdigest()}\n2  {hashlib.sha256(b'two').hexdigest()}\n"
    with Digests() as running:
        assert running.of((two, one)) == running.of((one, two)) == hashlib.sha256(lines.encode()).hexdigest()


def test_blake3_is_another_hash_of_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_CHUNK", 1000)
    contents = {"1": b"one" * 900, "2": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    lines = "".join(f"{name}  {blake3(content).hexdigest()}\n" for name, content in contents.items())
    with Digests(hash_name="blake3") as running:
        for name, content in contents.items():
            assert running.of((tmp_path / name,)) == blake3(content).hexdigest()
        assert running.of((tmp_path / "1", tmp_path / "2")) == blake3(lines.encode()).hexdigest()


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    with Digests() as running:
        running.start([path])
        first = running.of((path,))
        path.write_bytes(b"other")
        assert running.of((path,)) == first


def test_what_is_under_way_stops_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_CHUNK", 1)
    path = tmp_path / "x"
    path.write_bytes(b"0" * 10_000_000)
    with Digests(1) as running:
        running.start([path, tmp_path / "waiting"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hamdg-digest")]
    with pytest.raises(InterruptedError, match=r"^digesting `.*x` was stopped$"):
        running.of((path,))


def test_a_missing_file_is_told_when_its_digest_is_wanted(tmp_path: Path) -> None:
    with Digests() as running:
        running.start([tmp_path / "none"])
        with pytest.raises(FileNotFoundError):
            running.of((tmp_path / "none",))


def test_digests_do_not_need_torch() -> None:
    code = "import sys, hamdg.digests; print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False False"


def test_a_file_is_read_again_only_after_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    # So short after a write the clock of the file system may not tell a second one apart.
    assert sha256_file(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    assert sha256_file(path) == hashlib.sha256(b"two").hexdigest()
    monkeypatch.setattr(digests, "_RECENT", -(10**12))
    assert sha256_file(path) == hashlib.sha256(b"two").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *arguments: pytest.fail("read twice"))
        assert sha256_file(path) == hashlib.sha256(b"two").hexdigest()
    path.write_bytes(b"three")
    assert sha256_file(path) == hashlib.sha256(b"three").hexdigest()
