"""What `hamdg merge` says where the library refuses: flags, not arguments, and long lists in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamdg import cli

CALL = "--method uniform a.safetensors b.safetensors --out m.safetensors"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in one new folder, with another for temporary files."""
    folder, work = tmp_path / "temporary", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.chdir(work)
    return folder


def save(**models: dict[str, Tensor]) -> None:
    for name, model in models.items():
        save_file(model, f"{name}.safetensors")


def failure(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message of a call that must fail as wrong usage, in one line, leaving no file beside its inputs."""
    before = sorted(os.listdir())
    assert cli.main(["merge", *text.split()]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert sorted(os.listdir()) == before
    return captured.err.removeprefix("hamdg: error: ").rstrip("\n")


def test_three_hundred_names_are_a_short_line_and_a_whole_file(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"blocks.{i:03}.weight" for i in range(300)]
    save(a={name: torch.ones(1) for name in names} | {"head": torch.ones(1)}, b={"head": torch.ones(1)})
    said = failure(CALL, capsys)
    (kept,) = temporary.iterdir()
    assert said.endswith(f"and 294 more. Merge models of one architecture. The whole list is in `{kept}`.")
    assert len(said) < 400 + len(str(kept))
    assert kept.read_text().splitlines()[2:] == [f"    `{name}`" for name in names]
    # The same call leaves the same file, and so does a comparison.
    assert failure(CALL, capsys) == said
    failure("--compare a.safetensors b.safetensors --base a.safetensors", capsys)
    assert list(temporary.iterdir()) == [kept]


def test_a_list_that_cannot_be_kept_costs_no_message(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(a={f"{i}": torch.ones(1) for i in range(9)} | {"head": torch.ones(1)}, b={"head": torch.ones(1)})
    (temporary / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "file"))
    assert failure(CALL, capsys).endswith("and 3 more. Merge models of one architecture.")


def test_a_mean_near_the_maximum_is_told_the_precision(capsys: pytest.CaptureFixture[str]) -> None:
    save(a={"w": torch.tensor([3e38, 1.0])}, b={"w": torch.tensor([3e38, 2.0])})
    assert failure(CALL, capsys) == (
        "The merged tensor `w` overflows fp32 while it is computed; set `--precision` to `fp64`, or scale the change "
        "down."
    )
    assert cli.main(["merge", *CALL.split(), "--precision", "fp64"]) == 0
    assert load_file("m.safetensors")["w"].tolist() == [torch.tensor(3e38).item(), 1.5]


def test_quantized_weights_are_not_told_to_take_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    save(a={"fc.weight": torch.ones(2, 2).to(torch.int8)}, b={"fc.weight": torch.zeros(2, 2).to(torch.int8)})
    said = failure(CALL, capsys)
    assert said.startswith("In `a` `fc.weight` is quantized (int8): without their scales")
    assert "Dequantize the models first" in said
    assert failure(f"{CALL} --buffers first", capsys) == said


def test_eight_bit_floats_are_merged_and_kept_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    save(a={"w": torch.ones(2).to(torch.float8_e4m3fn)}, b={"w": torch.full((2,), 1.125).to(torch.float8_e4m3fn)})
    assert cli.main(["merge", *CALL.split()]) == 0
    merged = load_file("m.safetensors")["w"]
    assert (merged.dtype, merged.tolist()) == (torch.bfloat16, [1.0625, 1.0625])
    assert cli.main(["merge", *CALL.split(), "--dtype", "float8_e4m3fn"]) == 0
    assert load_file("m.safetensors")["w"].dtype == torch.float8_e4m3fn
