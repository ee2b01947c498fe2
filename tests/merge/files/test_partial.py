"""Files that hold only what training changed are completed with their own base, and with no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg import cli
from hamdg.digests import sha256_file
from hamdg.errors import WeightsError
from hamdg.merge import merge_files, open_tensors
from hamdg.merge.files import save_tensors
from hamdg.merge.files.partial import COMPLETED_BY

BASE = {"visual.a": torch.arange(6.0).view(2, 3), "visual.b": torch.ones(4), "text.c": torch.full((3,), 7.0)}
MOVED: dict[str, dict[str, Tensor]] = {
    "art": {"visual.a": BASE["visual.a"] + 1.0},
    "photo": {"visual.a": BASE["visual.a"] * 3.0, "visual.b": torch.zeros(4)},
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "base.safetensors", BASE)
    return tmp_path / "base.safetensors"


@pytest.fixture
def partial(tmp_path: Path, base: Path) -> dict[str, Path]:
    paths = {source: tmp_path / f"{source}.safetensors" for source in MOVED}
    for source, path in paths.items():
        save_tensors(path, MOVED[source], {COMPLETED_BY: sha256_file(base)})
    return paths


@pytest.mark.parametrize("method", ["uniform", "ties", "rhm"])
def test_a_merge_of_parts_is_that_of_whole_models(
    tmp_path: Path, base: Path, partial: dict[str, Path], method: str
) -> None:
    whole = {source: tmp_path / "whole" / f"{source}.safetensors" for source in MOVED}
    for source, path in whole.items():
        save_tensors(path, BASE | MOVED[source])
    found = open_tensors(merge_files(method, partial, tmp_path / "found.safetensors", base))
    expected = open_tensors(merge_files(method, whole, tmp_path / "expected.safetensors", base))
    assert found.keys() == expected.keys() == BASE.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_one_part_and_its_base_are_one_whole_model(tmp_path: Path, base: Path, partial: dict[str, Path]) -> None:
    found = open_tensors(merge_files("uniform", {"art": partial["art"]}, tmp_path / "whole.safetensors", base))
    expected = BASE | MOVED["art"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_without_its_base_a_part_is_refused_with_the_way_out(
    tmp_path: Path, partial: dict[str, Path], base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    said = f"`{partial['art']}` holds only the tensors that training changed. Give the `base.safetensors` of the run "
    said += f"that wrote it (SHA-256 {sha256_file(base)}) as the base."
    with pytest.raises(WeightsError, match=f"^{re.escape(said)}$"):
        merge_files("uniform", partial, out)
    assert cli.main(["merge", "--method", "uniform", *map(str, partial.values()), "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"hamdg: error: {said}\n"
    assert not out.exists()


@pytest.mark.parametrize("verb", ["merge", "compare"])
def test_another_base_is_refused_by_its_digest(
    tmp_path: Path, base: Path, partial: dict[str, Path], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    save_tensors(other, BASE | {"text.c": torch.full((3,), 8.0)})
    what = ["--method", "uniform", "--out", str(out)] if verb == "merge" else ["--compare"]
    assert cli.main(["merge", *what, "--base", str(other), *map(str, partial.values())]) == 2
    assert capsys.readouterr().err == (
        f"hamdg: error: The base `{other}` (SHA-256 {sha256_file(other)}) is not the file that completes "
        f"`{partial['art']}`. Give the `base.safetensors` of the run that wrote it (SHA-256 {sha256_file(base)}) as "
        "the base.\n"
    )
    assert not out.exists()


def test_a_base_without_the_names_of_the_part_is_named(tmp_path: Path, base: Path, partial: dict[str, Path]) -> None:
    other = tmp_path / "other.safetensors"
    save_tensors(other, {"text.c": BASE["text.c"]})
    said = f"The base `{other}` does not complete `{partial['art']}`: it lacks `visual.a`. Give the `base.safetensors` "
    with pytest.raises(WeightsError, match=f"^{re.escape(said)}"):
        merge_files("uniform", partial, tmp_path / "out.safetensors", other)
