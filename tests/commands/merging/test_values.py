"""Values of `hamdg merge` that belong to sources: named, in one word or several, or in the order of the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hamdg import cli
from tests.commands.merging.conftest import failure


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with `b.safetensors` (1), `a.safetensors` (3) and their base (0)."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("b", 1.0), ("a", 3.0), ("zero", 0.0)):
        save_file({"w": torch.full((2,), value)}, f"{name}.safetensors")
    return tmp_path


def merged(text: str) -> float:
    assert cli.main(["merge", *text.split(), "--out", "m.safetensors"]) == 0
    return float(load_file("m.safetensors")["w"][0])


def test_weights_go_by_the_order_of_the_files_not_of_the_alphabet() -> None:
    # (0.25 * 1 + 0.75 * 3) is 2.5; the other way around it would be 1.5.
    call = "--method weighted b.safetensors a.safetensors"
    assert merged(f"{call} --weights 0.25,0.75") == 2.5
    assert merged(f"{call} --weights b=0.25,a=0.75") == 2.5
    assert merged("--method weighted --weights 0.75,0.25 a.safetensors b.safetensors") == 2.5
    assert merged("--method weighted b.safetensors --weights 5") == 1.0


def test_the_same_weights_are_the_same_bytes() -> None:
    merged("--method weighted b.safetensors a.safetensors --weights 1,2")
    bare = Path("m.safetensors").read_bytes()
    merged("--method weighted b.safetensors a.safetensors --weights a=2,b=1")
    assert Path("m.safetensors").read_bytes() == bare


@pytest.mark.parametrize("spelling", ["--prefix one=net,two=ema.net.", "--prefix one=net --prefix two=ema.net"])
def test_prefixes_of_several_sources_in_one_word(spelling: str) -> None:
    torch.save({"state_dict": {"net.w": torch.ones(2), "old.w": torch.zeros(2)}}, "one.ckpt")
    torch.save({"state_dict": {"ema.net.w": torch.full((2,), 5.0), "net.w": torch.zeros(2)}}, "two.ckpt")
    assert merged(f"--method uniform one.ckpt two.ckpt {spelling}") == 3.0


@pytest.fixture
def several(folder: Path) -> None:
    """Write `one.pt` and `two.pt`, each with a model (1 and 3) and its average (5 and 7)."""
    for name, value in (("one", 1.0), ("two", 3.0)):
        content = {"model": {"w": torch.full((2,), value)}, "model_ema": {"w": torch.full((2,), value + 4)}}
        torch.save(content, f"{name}.pt")


@pytest.mark.usefixtures("several")
def test_of_several_models_in_a_file_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    call = "--method uniform one.pt two.pt"
    assert failure(f"{call} --out m.safetensors", capsys) == (
        "`one.pt` holds several sets of tensors: `model` (1 tensor), `model_ema` (1 tensor). Name one of these as "
        "`--key`, or save it alone."
    )
    assert merged(f"{call} --key model") == 2.0
    assert (
        merged(f"{call} --key one=model,two=model_ema") == merged(f"{call} --key one=model --key two=model_ema") == 4.0
    )
    capsys.readouterr()
    assert cli.main(["merge", "--show", "m.safetensors"]) == 0
    assert "key model_ema, blake3 " in capsys.readouterr().out


@pytest.mark.usefixtures("several")
def test_a_model_and_its_average_may_come_from_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert merged("--method uniform last=one.pt ema=one.pt --key last=model,ema=model_ema") == 3.0
    assert merged("--method wise_ft --base one.pt ema=one.pt --key base=model,ema=model_ema") == 3.0
    call = "--method uniform last=one.pt ema=one.pt --out m.safetensors --key"
    for keys in ("model", "last=model,ema=model"):
        assert "`ema` and `last` are the same file, `one.pt`" in failure(f"{call} {keys}", capsys)


@pytest.mark.usefixtures("several")
def test_a_key_for_all_leaves_plain_files_alone(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": torch.zeros(2)}, "plain.pt")
    assert merged("--method uniform one.pt plain.pt a.safetensors --key model_ema") == pytest.approx(8 / 3)
    assert merged("--method ties --scale 1 one.pt --base zero.safetensors --key model_ema --density 1") == 5.0
    torch.save({"model": {"w": torch.zeros(2)}}, "lacks.pt")
    call = "--method uniform one.pt lacks.pt --out m.safetensors --key"
    assert failure(f"{call} model_ema", capsys) == (
        "`lacks.pt` has no tensors under `model_ema`; they are under `model`. Name one of these as `--key`."
    )
    assert failure(f"{call} a=model_ema", capsys).startswith("`--key` names `a`, which is neither a source nor `base`;")
    call = "--method uniform one.pt plain.pt --out m.safetensors --key"
    assert failure(f"{call} one=model,plain=model", capsys) == (
        "`plain.pt` has no `model`: its tensors lie under no key. Leave `--key` out for this file."
    )
    assert failure(f"{call} model --key one=model", capsys) == (
        "`--key model` is for all files; name one key for all, or one for each as NAME=KEY, not both."
    )
    assert failure(f"{call} one=model,model", capsys) == "Expected `--key` to be [NAME=]KEY,..., but got `model`."


@pytest.mark.usefixtures("several")
def test_a_comparison_takes_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", "--compare", "one.pt", "two.pt", "--base", "zero.safetensors", "--key", "model_ema"]) == 0
    assert "one" in capsys.readouterr().out


def test_names_of_sources_are_those_of_files_without_their_endings(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("a.safetensors").rename("folder/model.safetensors")
    torch.save({"state_dict": {"w": torch.zeros(2)}}, "best.pth.tar")
    torch.save({"w": torch.zeros(2) + 1}, "last.pkl")
    assert merged("--method uniform folder best.pth.tar last.pkl") == pytest.approx(4 / 3)
    assert "sources  best, folder, last" in capsys.readouterr().out


def test_a_wrong_name_among_prefixes_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    call = "--method uniform a.safetensors b.safetensors --out m.safetensors --prefix"
    assert failure(f"{call} a=net,c=net", capsys) == (
        "`--prefix` names `c`, which is neither a source nor `base`; it can be `a`, `b`, `base`."
    )
    assert failure(f"{call} a=net,a=ema", capsys) == "`--prefix` names `a` twice; keep one of them."
    assert failure(f"{call} a=net,net", capsys) == "Expected `--prefix` to be NAME=TEXT,..., but got `net`."
    assert not Path("m.safetensors").exists()


def test_evidence_in_one_word_though_a_file_s_name_holds_a_comma() -> None:
    save_file({"w": torch.ones(2)}, "f,1.safetensors")
    save_file({"w": torch.full((2,), 3.0)}, "f,2.safetensors")
    call = "--method fisher a.safetensors b.safetensors --normalize false"
    assert merged(f"{call} --evidence a=f,1.safetensors,b=f,2.safetensors") == 1.5


@pytest.mark.parametrize("more", ["", " --density 0.3 --tie-rule=threshold", " --out m.safetensors"])
def test_a_run_is_told_the_keys_of_its_recipe(more: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text("seed: 0\n")
    options = " --merge.options.density=0.3 --merge.options.tie_rule=threshold" if "density" in more else ""
    assert failure(f"run --method ties{more}", capsys) == (
        "`run` is the directory of a run, whose histories are merged again with the keys of its recipe, as a run of "
        f"its own: `hamdg merge run --merge.method=ties{options}`. `--method` merges files."
    )
    assert sorted(os.listdir()) == ["a.safetensors", "b.safetensors", "run", "zero.safetensors"]


def test_of_an_older_run_s_history_the_models_are_taken() -> None:
    history = Path("run/history")
    (history / "last").mkdir(parents=True)
    (history / "index.json").write_text("{}")
    for name in "ab":
        Path(f"{name}.safetensors").rename(history / f"{name}.safetensors")
    save_file({"w": torch.zeros(2)}, history / "last" / "a.safetensors")
    files = " ".join(map(str, sorted(history.iterdir())))
    assert merged(f"--method uniform {files}") == 2.0
