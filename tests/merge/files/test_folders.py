"""Folders as Hugging Face's libraries, PEFT and open_clip write them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import format_utils
from torch.distributed.checkpoint.state_dict_saver import save

from hamdg.errors import WeightsError
from hamdg.merge import merge_files, open_tensors
from hamdg.merge.files import save_tensors

STATE = {"w": torch.ones(2)}


def write(folder: Path, *names: str) -> None:
    """Write files of the same names and sizes as those that lie in such folders."""
    for name in names:
        path = folder / name
        if name.endswith(".safetensors"):
            save_tensors(path, STATE)
        elif name.endswith((".bin", ".pt", ".pth", ".pkl")):
            torch.save(STATE, path)
        elif name.endswith(".index.json"):
            kind = "safetensors" if "safetensors" in name else "bin"
            path.write_text(json.dumps({"weight_map": {"w": f"model-00001-of-00001.{kind}"}}))
        else:
            path.write_text("{}")


TRAINING = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "scaler.pt", "random_states_0.pkl")
FOLDERS = {
    "model.safetensors": ("config.json", "model.safetensors", "tokenizer.json"),
    "adapter_model.safetensors": ("adapter_config.json", "adapter_model.safetensors", "README.md"),
    "pytorch_model.bin": ("config.json", "pytorch_model.bin", *TRAINING),
    "adapter_model.bin": ("adapter_config.json", "adapter_model.bin"),
    "open_clip_model.safetensors": (
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.bin",
    ),
    "model.safetensors.index.json": (
        "model.safetensors.index.json",
        "model-00001-of-00001.safetensors",
        "pytorch_model.bin",
    ),
    "pytorch_model.bin.index.json": ("pytorch_model.bin.index.json", "model-00001-of-00001.bin", "training_args.bin"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_its_weights_file(tmp_path: Path, name: str) -> None:
    write(tmp_path, *FOLDERS[name])
    (tmp_path / "empty.safetensors").mkdir()
    found = open_tensors(tmp_path)
    assert found.path == tmp_path / name
    assert found["w"].tolist() == [1.0, 1.0]


def test_a_folder_of_several_names_them(tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors", "model.fp16.safetensors")
    message = (
        f"`{tmp_path}` is a folder with several weights files: `model.fp16.safetensors`, `model.safetensors`. Give the "
        "path of one."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path)
    write(tmp_path, "a.safetensors.index.json", "b.safetensors.index.json")
    with pytest.raises(
        WeightsError, match=r"several weights files: `a\.safetensors\.index\.json`, `b\.safetensors\.in"
    ):
        open_tensors(tmp_path)


@pytest.mark.parametrize("names", [(), ("config.json", "notes.txt"), TRAINING, (".hidden.safetensors",)])
def test_a_folder_without_weights(tmp_path: Path, names: tuple[str, ...]) -> None:
    write(tmp_path, *names)
    message = (
        f"`{tmp_path}` is a folder without weights (`*.safetensors`, `*.safetensors.index.json`, ...); give the path "
        "of a weights file or of an index."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path)


def test_a_folder_of_folders_names_those_with_weights(tmp_path: Path) -> None:
    for name in ("scheduler", "text_encoder", "unet"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "config.json", *(() if name == "scheduler" else ("model.safetensors",)))
    message = (
        f"`{tmp_path}` is a folder without weights (`*.safetensors`, `*.safetensors.index.json`, ...), but its folders "
        "`text_encoder`, `unet` have some; give the path of one."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_checkpoint_is_told_how_to_become_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "step_100"
    save({"model": STATE}, checkpoint_id=folder, no_dist=True)
    command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} step_100.pt"
    message = f"`{folder}` is a distributed checkpoint of torch, in parts; make it one file and give that: `{command}`."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(folder)
    # What that command calls makes a file that is read.
    format_utils.dcp_to_torch_save(folder, tmp_path / "step_100.pt")
    assert open_tensors(tmp_path / "step_100.pt")["w"].tolist() == [1.0, 1.0]


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    message = f"The weights file `{tmp_path}` may not be read; change its permissions, or copy it."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path)


def test_folders_are_merged(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in "ab"}
    for name, value in (("a", 1.0), ("b", 3.0)):
        paths[name].mkdir()
        write(paths[name], "config.json")
        save_tensors(paths[name] / "model.safetensors", {"w": torch.full((2,), value)})
    assert open_tensors(merge_files("uniform", paths, tmp_path / "o.safetensors"))["w"].tolist() == [2.0, 2.0]
