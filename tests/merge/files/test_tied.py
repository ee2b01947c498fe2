"""Tied tensors that some files store under one of their names only."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from hamdg.errors import WeightsError
from hamdg.merge import merge, merge_files, open_tensors
from hamdg.merge.files import save_tensors


def tied(value: float) -> dict[str, Tensor]:
    weight = torch.full((2, 2), value)
    return {"embed.weight": weight, "head.weight": weight, "fc.weight": torch.full((3,), value)}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Return `a.bin` with both names of a tensor, and `b.safetensors` with one."""
    torch.save(tied(1.0), tmp_path / "a.bin")
    del (lacking := tied(3.0))["head.weight"]
    save_tensors(tmp_path / "b.safetensors", lacking)
    return {"a": tmp_path / "a.bin", "b": tmp_path / "b.safetensors"}


@pytest.mark.parametrize("method", ["uniform", "ties"])
def test_a_file_with_both_names_tells_what_the_other_lacks(paths: dict[str, Path], tmp_path: Path, method: str) -> None:
    torch.save(tied(0.0), tmp_path / "base.bin")
    found = open_tensors(merge_files(method, paths, tmp_path / "o.safetensors", tmp_path / "base.bin"))
    expected = merge(method, {"a": tied(1.0), "b": tied(3.0)}, tied(0.0))
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert found["head.weight"].data_ptr() == found["embed.weight"].data_ptr()


def test_a_base_that_lacks_a_name_and_checkpoints_with_prefixes(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 3.0)):
        torch.save(
            {"state_dict": {f"model.{key}": tensor for key, tensor in tied(value).items()}}, tmp_path / f"{name}.ckpt"
        )
    lacking = {name: tensor for name, tensor in tied(0.0).items() if name != "embed.weight"}
    save_tensors(tmp_path / "base.safetensors", lacking)
    sources = {name: tmp_path / f"{name}.ckpt" for name in "ab"}
    out = merge_files(
        "uniform",
        sources,
        tmp_path / "o.safetensors",
        tmp_path / "base.safetensors",
        prefixes={"a": "model", "b": "model"},
    )
    assert open_tensors(out)["embed.weight"].tolist() == [[2.0, 2.0]] * 2


class Tied(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(2, 2), nn.Linear(2, 2, bias=False)
        nn.init.constant_(self.embed.weight, value)
        self.head.weight = self.embed.weight


def test_what_save_model_left_out_is_in_its_header(tmp_path: Path) -> None:
    safetensors.torch.save_model(Tied(3.0), str(tmp_path / "b.safetensors"))
    save_tensors(tmp_path / "a.safetensors", {name: torch.ones(2, 2) for name in ("embed.weight", "head.weight")})
    out = merge_files("uniform", {name: tmp_path / f"{name}.safetensors" for name in "ab"}, tmp_path / "o.safetensors")
    found = open_tensors(out)
    assert found["embed.weight"].tolist() == found["head.weight"].tolist() == [[2.0, 2.0]] * 2


def test_two_files_that_lack_the_same_name_stay_without_it(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 3.0)):
        safetensors.torch.save_model(Tied(value), str(tmp_path / f"{name}.safetensors"))
    out = merge_files("uniform", {name: tmp_path / f"{name}.safetensors" for name in "ab"}, tmp_path / "o.safetensors")
    assert len(open_tensors(out)) == 1


@pytest.mark.parametrize("case", ["equal by chance", "another model holds two"])
def test_names_that_are_not_tied_are_lacking(paths: dict[str, Path], tmp_path: Path, case: str) -> None:
    apart = {name: tensor.clone() for name, tensor in tied(1.0).items()}
    if case == "equal by chance":
        torch.save(apart, paths["a"])
    else:
        apart["head.weight"] += 1
        torch.save(apart, tmp_path / "c.bin")
        paths["c"] = tmp_path / "c.bin"
    with pytest.raises(WeightsError, match=r"^The models hold different tensors: `b` lacks `head\.weight`\."):
        merge_files("uniform", paths, tmp_path / "o.safetensors")
