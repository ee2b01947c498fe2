"""`hamdg merge`: files are merged as its arguments say."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hamdg.merge import merge
from tests.commands.merging.conftest import TIES, failure, model, read, run


def test_files_are_merged_as_the_library_merges_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = "--method ties --base zero.safetensors art.safetensors shot=photo.pt --out out/merged.safetensors"
    assert run(f"{call} --density 0.5 --scope tensor --scale -1.5 --weights art=2,shot=0.5") == 0
    models = {"art": read("art.safetensors"), "shot": read("photo.pt")}
    weights = {"art": 2.0, "shot": 0.5}
    wanted = merge("ties", models, read("zero.safetensors"), weights, density=0.5, scope="tensor", scale=-1.5)
    found = read("out/merged.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    said = capsys.readouterr().out
    assert "ties" in said
    assert "density 0.5, scope tensor, scale -1.5, sign mass" in said
    assert "sources  art, shot" in said
    size = Path("out/merged.safetensors").stat().st_size
    assert f"out/merged.safetensors ({size:,} bytes)" in said


@pytest.mark.parametrize("spelling", ["--tie-rule threshold", "--tie_rule=threshold", "--tie-rule=threshold"])
def test_options_may_be_spelled_either_way(folder: Path, spelling: str) -> None:
    assert run(f"{TIES} {spelling}") == 0


def test_values_may_begin_with_a_minus(folder: Path) -> None:
    assert run(f"{TIES} --scale -1e-3 --weights -1,2 --lines -1,.5") == 0
    models = {"art": read("art.safetensors"), "photo": read("photo.pt")}
    weights = {"art": -1.0, "photo": 2.0}
    wanted = merge("ties", models, read("zero.safetensors"), weights, lines=(-1, 0.5), scale=-1e-3)
    assert torch.equal(read("m.safetensors")["conv1.weight"], wanted["conv1.weight"])


def test_what_follows_two_dashes_are_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo.pt").rename("--photo.pt")
    assert run("--method uniform --out m.safetensors -- art.safetensors --photo.pt") == 0
    assert "sources  --photo, art" in capsys.readouterr().out


def test_order_of_arguments_changes_no_byte(folder: Path) -> None:
    assert run("--method uniform art.safetensors shot=photo.pt --out a.safetensors --threads 1") == 0
    assert run("--out b.safetensors shot=photo.pt --threads 2 art.safetensors --method uniform") == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_a_file_whose_name_holds_an_equals_sign_is_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo.pt").rename("epoch=3-step=9.pt")
    assert (
        run("--method weighted art.safetensors epoch=3-step=9.pt --out m.safetensors --weights epoch=3-step=9=1,art=3")
        == 0
    )
    assert "sources  art, epoch=3-step=9" in capsys.readouterr().out


def test_settings_reach_the_library(folder: Path) -> None:
    call = f"{TIES} --lines 0.5,0.25 --precision fp64 --dtype float16 --buffers first --threads 1 --device cpu"
    assert run(call) == 0
    models = {"art": read("art.safetensors"), "photo": read("photo.pt")}
    wanted = merge(
        "ties",
        models,
        read("zero.safetensors"),
        lines=(0.5, 0.25),
        precision="fp64",
        dtype=torch.float16,
        buffers="first",
    )
    found = read("m.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_nonfinite_values_are_let_through_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = read("art.safetensors")
    broken["head.bias"][0] = float("nan")
    save_file(broken, "broken.safetensors")
    call = "--method uniform broken.safetensors photo.pt --out m.safetensors"
    said = failure(call, capsys)
    assert "`broken`: `head.bias` (NaN)" in said
    assert "(`--allow-nonfinite` merges all the same)" in said
    assert run(f"{call} --allow-nonfinite") == 0
    assert bool(read("m.safetensors")["head.bias"][0].isnan())


def test_a_prefix_can_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = {f"{twin}.{name}": tensor for twin in ("student", "teacher") for name, tensor in read("photo.pt").items()}
    torch.save({"state_dict": both, "pytorch-lightning_version": "2.6"}, "last.ckpt")
    call = "--method uniform art.safetensors last.ckpt --out m.safetensors"
    assert run(call) == 2
    capsys.readouterr()
    assert run(f"{call} --prefix last=teacher.") == 0
    wanted = merge("uniform", {"art": read("art.safetensors"), "last": read("photo.pt")})
    assert torch.equal(read("m.safetensors")["head.bias"], wanted["head.bias"])


def test_evidence_comes_from_files(folder: Path) -> None:
    save_file({name: torch.ones_like(tensor) for name, tensor in model(0).items()}, "f1.safetensors")
    save_file({name: torch.full_like(tensor, 3.0) for name, tensor in model(0).items()}, "f2.safetensors")
    call = "--method fisher art.safetensors photo.pt --out m.safetensors --normalize false"
    assert run(f"{call} --evidence art=f1.safetensors --evidence photo=f2.safetensors") == 0
    wanted = 0.25 * read("art.safetensors")["head.bias"] + 0.75 * read("photo.pt")["head.bias"]
    torch.testing.assert_close(read("m.safetensors")["head.bias"], wanted)
    # The flag's former name.
    assert run(f"{call} --statistics art=f1.safetensors,photo=f1.safetensors") == 0


def test_what_belongs_to_a_source_may_hold_an_equals_sign_like_its_name(folder: Path) -> None:
    save_file({name: torch.ones_like(tensor) for name, tensor in model(0).items()}, "step=1.safetensors")
    Path("art.safetensors").rename("art=2.safetensors")
    evidence = "--evidence art=2=step=1.safetensors --evidence photo=step=1.safetensors"
    call = "--method fisher art=2.safetensors photo.pt --out m.safetensors --normalize false"
    assert run(f"{call} {evidence} --weights art=2=3,photo=1") == 0
    wanted = 0.75 * read("art=2.safetensors")["head.bias"] + 0.25 * read("photo.pt")["head.bias"]
    torch.testing.assert_close(read("m.safetensors")["head.bias"], wanted)


def test_a_far_base_is_a_warning_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(model(7), "zero.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(TIES) == 0
    said = capsys.readouterr().err
    assert said.startswith("hamdg: warning: The base may not be the start that the sources have in common")
    assert said.count("\n") == 1
    assert said.endswith("Check `--base`.\n")


def test_ctrl_c_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hamdg.merge.files.merge_files", interrupted)
    assert run(TIES) == 130
    assert capsys.readouterr().err == "\nhamdg: stopped; nothing was written.\n"
    assert sorted(os.listdir()) == ["art.safetensors", "photo.pt", "zero.safetensors"]


def test_a_comparison_of_values_that_are_no_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = read("art.safetensors")
    broken["head.bias"][0] = float("nan")
    save_file(broken, "broken.safetensors")
    said = failure("--compare broken.safetensors photo.pt --base zero.safetensors", capsys)
    assert said.endswith("`broken`: `head.bias` (NaN). Leave such a model out or train it again.")


def test_ctrl_c_stops_a_comparison(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hamdg.commands.merging.compare.measure", interrupted)
    assert run("--compare art.safetensors photo.pt --base zero.safetensors") == 130
    assert capsys.readouterr().err == "\nhamdg: stopped; nothing was written.\n"
