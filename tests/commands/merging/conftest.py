"""A folder of models, and calls of `hamdg merge` in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamdg import cli

TIES = "--method ties --base zero.safetensors art.safetensors photo.pt --out m.safetensors"

Model = dict[str, Tensor]


def model(seed: int) -> Model:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv1.weight": (3, 2), "blocks.0.w": (4, 4), "blocks.1.w": (4, 4), "head.bias": (3,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def near(base: Model, seed: int, size: float = 0.1) -> Model:
    change = model(seed)
    return {name: tensor + size * change[name] for name, tensor in base.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with `zero.safetensors`, `art.safetensors` and `photo.pt`."""
    monkeypatch.chdir(tmp_path)
    base = model(0)
    save_file(base, "zero.safetensors")
    save_file(near(base, 1), "art.safetensors")
    torch.save(near(base, 2), "photo.pt")
    return tmp_path


def read(name: str) -> Model:
    return load_file(name) if name.endswith(".safetensors") else torch.load(name, weights_only=True)


def run(text: str) -> int:
    return cli.main(["merge", *text.split()])


def failure(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message of a call that must fail as wrong usage, without a trace and without output."""
    capsys.readouterr()
    assert run(text) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hamdg: error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("hamdg: error: ").rstrip("\n")
