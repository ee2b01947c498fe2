from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hamdg.errors import StorageError, WeightsError
from hamdg.merge.files import load_tensors, provenance, read_metadata, save_tensors

METADATA = {key: f'value of {key}: é \n "quoted" \x7f' for key in "qwertyuiop"}


def test_round_trip(tmp_path: Path) -> None:
    tensors = {
        "b.half": torch.randn(2, 3, dtype=torch.float16, generator=torch.Generator().manual_seed(0)),
        "a": torch.tensor(3),
        "c.transposed": torch.arange(6.0).view(2, 3).T,
        "empty": torch.ones(0, 4),
        "flag": torch.tensor([True, False]),
        "brain": torch.ones(3, dtype=torch.bfloat16),
    }
    path = tmp_path / "new" / "folder" / "x.safetensors"
    save_tensors(path, tensors, METADATA)
    loaded = load_tensors(path)
    assert list(loaded) == sorted(tensors)
    assert all(loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert read_metadata(path) == METADATA
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_without_metadata(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", {"w": torch.ones(2)})
    assert read_metadata(tmp_path / "x.safetensors") == {}


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    tensors = {name: torch.full((3,), float(i)) for i, name in enumerate("xyz")}
    contents = set()
    for i in range(5):
        path = tmp_path / f"{i}.safetensors"
        save_tensors(path, dict(reversed(tensors.items())) if i % 2 else tensors, METADATA)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    # Other readers understand the sorted header too.
    assert torch.equal(safetensors.torch.load(contents.pop())["y"], tensors["y"])


def test_tensors_that_share_memory_are_written_separately(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    tensors = {"whole": weight, "tied": weight, "part": weight[1:3], "parameter": torch.nn.Parameter(weight)}
    save_tensors(tmp_path / "x.safetensors", tensors)
    loaded = load_tensors(tmp_path / "x.safetensors")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
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


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    message = f"Weights file `{path}` does not exist; give the path of a `.safetensors` file."
    for read in (load_tensors, read_metadata):
        with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
            read(path)


def test_a_folder(tmp_path: Path) -> None:
    message = f"Weights file `{tmp_path}` is a folder, not a file; give the path of a `.safetensors` file."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_tensors(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 40, 400])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": torch.zeros(1000)}, METADATA)
    path.write_bytes(path.read_bytes()[:kept])
    start = f"Weights file `{path}` ({kept} bytes) is truncated or no safetensors file ("
    end = "); make it again or copy it again from where it came."
    for read in (load_tensors, read_metadata):
        with pytest.raises(WeightsError, match=f"^{re.escape(start)}.*{re.escape(end)}$"):
            read(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match="is truncated or no safetensors file"):
        load_tensors(path)


def test_provenance_depends_on_what_was_merged_only() -> None:
    one = provenance("rhm", {"scope": "tensor", "keep": 0.5}, {"b": "22", "a": "11"}, {"torch": "2.8", "hamdg": "1"})
    two = provenance("rhm", {"keep": 0.5, "scope": "tensor"}, {"a": "11", "b": "22"}, {"hamdg": "1", "torch": "2.8"})
    assert one == two
    assert one == {
        "format": "pt",
        "hamdg.method": "rhm",
        "hamdg.options": '{"keep": 0.5, "scope": "tensor"}',
        "hamdg.sources": '{"a": "11", "b": "22"}',
        "hamdg.versions": '{"hamdg": "1", "torch": "2.8"}',
    }
