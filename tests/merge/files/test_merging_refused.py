"""What is wrong with the inputs of a merge is reported, and changes no file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg.digests import Digests
from hamdg.errors import ConfigError, StorageError, WeightsError
from hamdg.merge import MergeSettings, merge_files, merge_with, open_tensors
from hamdg.merge.files import save_tensors
from hamdg.merge.files.writing import TensorWriter
from tests.merge.files.conftest import BASE, MODELS, SOURCES, assert_equal, blake3_of, content


@pytest.fixture
def untouched(paths: dict[str, Path], tmp_path: Path) -> dict[Path, bytes]:
    """What lies in the folder, an earlier output among it."""
    (tmp_path / "out.safetensors").write_bytes(b"an earlier output")
    return content(tmp_path)


def test_an_input_as_output(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    (tmp_path / "link.safetensors").symlink_to(paths["photo"])
    os.link(tmp_path / "base.safetensors", tmp_path / "hard.safetensors")
    for name in ("photo", "link", "hard", "base"):
        out = tmp_path / f"{name}.safetensors"
        message = f"The output `{out}` is one of the inputs; choose another name."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("ties", paths, out, tmp_path / "base.safetensors")
    assert content(tmp_path).items() >= untouched.items()


def test_a_shard_or_an_evidence_file_as_output(paths: dict[str, Path], tmp_path: Path) -> None:
    index = tmp_path / "s.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(BASE, "sketch.safetensors")}))
    sharded = paths | {"sketch": index}
    for given, evidence in (
        (sharded, None),
        ({s: p for s, p in paths.items() if s != "sketch"}, dict.fromkeys(("art", "photo"), paths["sketch"])),
    ):
        with pytest.raises(ConfigError, match=r"^The output `.*sketch.safetensors` is one of the inputs"):
            merge_files("uniform", given, paths["sketch"], evidence=evidence)


def test_outputs_that_cannot_be(paths: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Expected the output to end in `.safetensors`, but got `.*merged.pt`\.$"):
        merge_files("uniform", paths, tmp_path / "merged.pt")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "device.safetensors").symlink_to("/dev/full")
    for name in ("folder", "device"):
        out = tmp_path / f"{name}.safetensors"
        message = f"The output `{out}` is not an ordinary file and cannot be replaced; choose another name."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("uniform", paths, out)


def test_the_same_file_twice(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    (tmp_path / "link.safetensors").symlink_to(paths["art"])
    for again in (paths["art"], tmp_path / "elsewhere" / ".." / "art.safetensors", tmp_path / "link.safetensors"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        message = (
            f"`art` and `more` are the same file, `{paths['art']}`; leave one of them out, or give it more weight."
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("uniform", {"art": paths["art"], "more": again}, tmp_path / "out.safetensors")
    assert content(tmp_path).items() >= untouched.items()


@pytest.mark.parametrize("method", ["uniform", "ties"])
def test_the_same_content_twice(
    paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes], method: str
) -> None:
    shutil.copy(paths["art"], tmp_path / "copy")
    (tmp_path / "copy").rename(tmp_path / "copy.safetensors")
    message = (
        f"`art` and `more` are files of the same content (BLAKE3 {blake3_of(paths['art'])}); leave one of them out, "
        "or give it more weight."
    )
    given = paths | {"more": tmp_path / "copy.safetensors"}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files(method, given, tmp_path / "out.safetensors", tmp_path / "base.safetensors")
    (tmp_path / "copy.safetensors").unlink()
    assert content(tmp_path) == untouched


def test_equal_files_are_told_before_the_merge_ends(paths: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(paths["art"], tmp_path / "copy.safetensors")
    given = {"art": paths["art"], "more": tmp_path / "copy.safetensors"}
    written: list[str] = []

    with Digests() as digests, pytest.MonkeyPatch.context() as patch:
        for path in given.values():
            digests.of((path,))
        patch.setattr(TensorWriter, "write", lambda self, name, tensor: written.append(name))
        with pytest.raises(ConfigError, match="are files of the same content"):
            merge_files(
                "uniform", given, tmp_path / "o.safetensors", settings=MergeSettings(threads=1), digests=digests
            )
    assert written == []


def test_the_base_as_a_source(paths: dict[str, Path], tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    shutil.copy(base, tmp_path / "copy.safetensors")
    end = ": there is no change from the base to itself; leave `zero` out."
    same = f"The base and `zero` are the same file, `{base}`{end}"
    equal = f"The base and `zero` are files of the same content (BLAKE3 {blake3_of(base)}){end}"
    for path, message in ((base, same), (tmp_path / "copy.safetensors", equal)):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("ties", paths | {"zero": path}, tmp_path / "o.safetensors", base)
    # Averages may take it for one of the models.
    given = paths | {"zero": base}
    merge_files("uniform", given, tmp_path / "o.safetensors", base)
    assert_equal(open_tensors(tmp_path / "o.safetensors"), merge_with("uniform", MODELS | {"zero": BASE}, BASE))


def test_models_that_do_not_fit(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    other = tmp_path / "other.safetensors"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({name: t for name, t in MODELS["art"].items() if name != "one"}, "`other` lacks `one`"),
        (
            MODELS["art"] | {"one": torch.ones(2)},
            r"in `other` `one` is floating-point \(2,\), not floating-point \(1,\)",
        ),
        (MODELS["art"] | {"one": torch.ones(1).half()}, "in `other` `one` is float16, not float32"),
        (MODELS["art"] | {"one": torch.tensor([float("nan")])}, r"non-finite values\. `other`: `one` \(NaN\)"),
        (MODELS["art"] | {"one": torch.tensor([float("inf")])}, r"values\. `other`: `one` \(infinite values\)"),
    ]
    for state, message in cases:
        save_tensors(other, state)
        for method in ("uniform", "ties"):
            with pytest.raises(WeightsError, match=message):
                merge_files(
                    method, paths | {"other": other}, tmp_path / "out.safetensors", tmp_path / "base.safetensors"
                )
    other.unlink()
    assert content(tmp_path) == untouched


def test_files_that_cannot_be_read(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(paths["art"].read_bytes()[:-10])
    cases = {
        truncated: r"truncated.safetensors` \(\d+ bytes\) is damaged or truncated",
        tmp_path / "none.pt": "none.pt` does not exist; give the path of a weights file",
        tmp_path: "is a folder with several weights files: `art.safetensors`, `base.safetensors`",
    }
    for path, message in cases.items():
        with pytest.raises(WeightsError, match=message):
            merge_files("uniform", paths | {"photo": path}, tmp_path / "out.safetensors")
        with pytest.raises(WeightsError, match=message):
            merge_files("ties", paths, tmp_path / "out.safetensors", path)
    truncated.unlink()
    assert content(tmp_path) == untouched


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="to hold at least one model, but got none"):
        merge_files("uniform", {}, tmp_path / "out.safetensors")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk(
    paths: dict[str, Path],
    tmp_path: Path,
    untouched: dict[Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    threads: int,
) -> None:
    real, calls = getattr(os, call), 0

    def full(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if call == "posix_fallocate" or calls > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        StorageError, match=r"^Cannot write `.*out.safetensors`: the disk is full \(.* MiB free\); nothing"
    ):
        merge_files("uniform", paths, tmp_path / "out.safetensors", settings=MergeSettings(threads=threads))
    assert content(tmp_path) == untouched


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_in_the_middle(
    paths: dict[str, Path],
    tmp_path: Path,
    untouched: dict[Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    threads: int,
) -> None:
    write, calls = TensorWriter.write, count(1)

    def interrupted(self: TensorWriter, name: str, tensor: Tensor) -> None:
        own = next(calls)  # two threads write
        write(self, name, tensor)
        if own == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TensorWriter, "write", interrupted)
    # A shell starts what runs in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        merge_files("uniform", paths, tmp_path / "out.safetensors", settings=MergeSettings(threads=threads))
    assert content(tmp_path) == untouched


def test_an_error_of_the_method(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    big = {source: {"w": torch.full((4,), 6e4, dtype=torch.float16) + 32 * i} for i, source in enumerate(SOURCES)}
    (tmp_path / "half").mkdir()
    for source, state in big.items():
        save_tensors(tmp_path / "half" / f"{source}.safetensors", state)
    save_tensors(tmp_path / "half" / "base.safetensors", {"w": torch.full((4,), 100, dtype=torch.float16)})
    given = {source: tmp_path / "half" / f"{source}.safetensors" for source in SOURCES}
    base = tmp_path / "half" / "base.safetensors"
    with pytest.raises(WeightsError, match="holds values that float16 cannot hold; name a wider"):
        merge_files("task_arithmetic", given, tmp_path / "out.safetensors", base, options={"scale": 9.0})
    shutil.rmtree(tmp_path / "half")
    assert content(tmp_path) == untouched
