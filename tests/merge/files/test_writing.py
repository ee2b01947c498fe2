from __future__ import annotations

import errno
import os
import re
import resource
import struct
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from hamdg.errors import StorageError, WeightsError
from hamdg.merge.files import load_tensors, read_metadata, save_tensors
from hamdg.merge.files.writing import new_tensor_file

METADATA = {key: f'value of {key}: é \n "quoted" \x7f' for key in "qwertyuiop"}
DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def every_dtype() -> dict[str, torch.Tensor]:
    return {f"{name}.{str(dtype)[6:]}": torch.arange(7).to(dtype) for dtype in DTYPES for name in "ba"}


def test_round_trip(tmp_path: Path) -> None:
    tensors = {
        "b.half": torch.randn(2, 3, dtype=torch.float16, generator=torch.Generator().manual_seed(0)),
        "a": torch.tensor(3),
        "c.transposed": torch.arange(6.0).view(2, 3).T,
        "empty": torch.ones(0, 4),
        "flag": torch.tensor([True, False]),
        "brain": torch.ones(3, dtype=torch.bfloat16),
        "conjugated": torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64).conj(),
        "four": torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last),
    }
    path = tmp_path / "new" / "folder" / "x.safetensors"
    save_tensors(path, tensors, METADATA)
    loaded = load_tensors(path)
    assert list(loaded) == sorted(tensors)
    assert all(loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert read_metadata(path) == METADATA
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_a_file_is_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    tensors = every_dtype() | {"scalar": torch.tensor(1.5), "empty": torch.ones(0, 2), "one": torch.ones(1, 1, 1)}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    save_tensors(ours, tensors, {"format": "pt"})
    safetensors.torch.save_file(tensors, theirs, {"format": "pt"})
    assert ours.read_bytes() == theirs.read_bytes()
    save_tensors(ours, {})
    assert safetensors.torch.load_file(ours) == {}


def test_other_readers_read_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(7)}, METADATA)
    assert safetensors.torch.load_file(path)["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert safetensors.numpy.load_file(path)["n"] == np.int64(7)


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, every_dtype(), {"odd": "x"})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % 8 == 0
    assert all(tensor.data_ptr() % tensor.itemsize == 0 for tensor in load_tensors(path).values())


def test_without_metadata(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", {"w": torch.ones(2)})
    assert read_metadata(tmp_path / "x.safetensors") == {}


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    tensors = {name: torch.full((3,), float(i)) for i, name in enumerate("xyz")}
    contents = set()
    for i in range(5):
        path = tmp_path / f"{i}.safetensors"
        turned = dict(reversed(METADATA.items())) if i % 2 else METADATA
        save_tensors(path, dict(reversed(tensors.items())) if i % 3 else tensors, turned)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_tensors_that_share_memory_are_written_separately(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    tensors = {"whole": weight, "tied": weight, "part": weight[1:3], "parameter": torch.nn.Parameter(weight)}
    save_tensors(tmp_path / "x.safetensors", tensors)
    loaded = load_tensors(tmp_path / "x.safetensors")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_tensors_may_come_from_several_threads_in_any_order(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((i * 100,), float(i)) for i in range(30)}
    layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    path = tmp_path / "x.safetensors"
    with new_tensor_file(path, layout, {}) as writer, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: writer.write(name, tensors[name]), sorted(tensors, reverse=True)))
        writer.finish()
    save_tensors(tmp_path / "y.safetensors", tensors)
    assert path.read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_texts_of_equal_length_can_be_put_in_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    layout = {"w": ((2,), torch.float32)}
    with new_tensor_file(path, layout, {"digest": "000"}) as writer:
        writer.write("w", torch.tensor([1.0, 2.0]))
        writer.finish({"digest": "abc"})
    assert read_metadata(path) == {"digest": "abc"}
    assert load_tensors(path)["w"].tolist() == [1.0, 2.0]
    with (
        pytest.raises(ValueError, match=r"^the texts of the header changed their length$"),
        new_tensor_file(path, layout, {"digest": "000"}) as writer,
    ):
        writer.write("w", torch.zeros(2))
        writer.finish({"digest": "much longer than before"})
    assert read_metadata(path) == {"digest": "abc"}


def test_a_tensor_that_is_missing_or_other_than_announced_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    layout = {"w": ((2,), torch.float32), "v": ((), torch.float32)}
    with (
        pytest.raises(ValueError, match=r"^`v` was announced, but not written$"),
        new_tensor_file(path, layout, {}) as writer,
    ):
        writer.write("w", torch.zeros(2))
        writer.finish()
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.float64)):
        with (
            pytest.raises(ValueError, match=r"^`w` is torch.float.*, but was announced as torch.float32 \(2,\)$"),
            new_tensor_file(path, layout, {}) as writer,
        ):
            writer.write("w", wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_the_format_does_not_know(tmp_path: Path) -> None:
    message = "`z` is of dtype torch.complex128, which safetensors files cannot hold; convert it first."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        save_tensors(tmp_path / "x.safetensors", {"z": torch.zeros(2, dtype=torch.complex128)})


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, place: write(handle, content[:1000], place))
    save_tensors(tmp_path / "x.safetensors", {"w": torch.arange(5000.0)})
    assert torch.equal(load_tensors(tmp_path / "x.safetensors")["w"], torch.arange(5000.0))


def test_a_file_that_is_too_large_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": torch.zeros(4)})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=re.escape(f"Cannot write `{path}`:")):
            save_tensors(path, {"w": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": torch.zeros(4)})
    before = path.read_bytes()

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        StorageError, match=rf"^Cannot write `{re.escape(str(path))}`: the disk is full \(.* MiB free\); "
    ):
        save_tensors(path, {"w": torch.zeros(8)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_file_systems_that_cannot_set_space_aside_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, "not here")

    save_tensors(tmp_path / "x.safetensors", {"w": torch.arange(3.0)})
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    save_tensors(tmp_path / "y.safetensors", {"w": torch.arange(3.0)})
    monkeypatch.delattr(os, "posix_fallocate")
    save_tensors(tmp_path / "z.safetensors", {"w": torch.arange(3.0)})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only file system"),
        (errno.ENOENT, "no such file or directory"),
    ],
)
def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def refuse(**arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    path = tmp_path / "x.safetensors"
    message = f"Cannot write `{path}`: {reason}; nothing was changed. Choose another folder for the output."
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        save_tensors(path, {"w": torch.zeros(1)})


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"^Cannot write `.*x.safetensors`: (file exists|not a directory); nothing was"
    ):
        save_tensors(tmp_path / "file" / "x.safetensors", {"w": torch.zeros(1)})
    with pytest.raises(
        StorageError, match=r"^Cannot write `.*x.safetensors`: (file exists|not a directory); nothing was"
    ):
        save_tensors(tmp_path / "file" / "deeper" / "x.safetensors", {"w": torch.zeros(1)})


def test_a_folder_in_the_file_s_place(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(StorageError, match=r"^Cannot write `.*x.safetensors`: is a directory; nothing was changed"):
        save_tensors(tmp_path / "x.safetensors", {"w": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    assert threading.active_count() == before
