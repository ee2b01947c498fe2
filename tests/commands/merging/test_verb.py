from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamdg import cli
from hamdg.commands.merging.arguments import FLAGS
from hamdg.files import sha256_file
from hamdg.merge import merge, methods
from hamdg.merge.aliases import ALIASES

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
    assert run(text) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hamdg: error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("hamdg: error: ").rstrip("\n")


EXAMPLE = "`hamdg merge --method uniform a.safetensors b.safetensors --out merged.safetensors`"
TIES = "--method ties --base zero.safetensors art.safetensors photo.pt --out m.safetensors"


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


def test_statistics_come_from_files(folder: Path) -> None:
    save_file({name: torch.ones_like(tensor) for name, tensor in model(0).items()}, "f1.safetensors")
    save_file({name: torch.full_like(tensor, 3.0) for name, tensor in model(0).items()}, "f2.safetensors")
    call = "--method fisher art.safetensors photo.pt --out m.safetensors --normalise false"
    assert run(f"{call} --statistics art=f1.safetensors --statistics photo=f2.safetensors") == 0
    wanted = 0.25 * read("art.safetensors")["head.bias"] + 0.75 * read("photo.pt")["head.bias"]
    torch.testing.assert_close(read("m.safetensors")["head.bias"], wanted)


def test_what_belongs_to_a_source_may_hold_an_equals_sign_like_its_name(folder: Path) -> None:
    save_file({name: torch.ones_like(tensor) for name, tensor in model(0).items()}, "step=1.safetensors")
    Path("art.safetensors").rename("art=2.safetensors")
    statistics = "--statistics art=2=step=1.safetensors --statistics photo=step=1.safetensors"
    call = "--method fisher art=2.safetensors photo.pt --out m.safetensors --normalise false"
    assert run(f"{call} {statistics} --weights art=2=3,photo=1") == 0
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--method tise art.safetensors --out m.safetensors", "There is no merge method `tise`; did you mean `ties`?"),
        (f"{TIES} --densty 0.2", "Merge method `ties` has no option `--densty`; did you mean `--density`?"),
        (f"{TIES} --lambda 0.5", "Merge method `ties` has no option `--lambda`; mergekit's `lambda` is `--scale`."),
        (
            "--method dare_ties --base zero.safetensors art.safetensors photo.pt --out m.safetensors --density 0.5",
            "Merge method `dare_ties` has no option `--density`; mergekit's `density` is 1 - `--drop-rate`.",
        ),
        (f"{TIES} --wieghts art=1", "Merge method `ties` has no option `--wieghts`; did you mean `--weights`?"),
        (
            "--method uniform art.safetensors --out m.safetensors --density 0.2",
            "Merge method `uniform` has no option `--density`; it takes none.",
        ),
        (f"{TIES} --density", "`--density` needs a value; write `--density VALUE`."),
        (f"{TIES} --density --scale 1", "`--density` needs a value; write `--density VALUE`."),
        (
            f"{TIES} --density 2",
            "Expected `--density` to be a number at least 0 and at most 1, but got `2`.",
        ),
        (f"{TIES} --density 0.1 --density 0.2", "`--density` is given twice; keep one of them."),
        (f"{TIES} --scope gobal", "Expected `--scope` to be `tensor` or `global` or `row`, but got `gobal`."),
        (f"{TIES} --out x.safetensors", "`--out` is given twice; keep one of them."),
        (
            "--method uniform art.safetensors photo.pt",
            f"The merged file needs a name; add `--out`, as in {EXAMPLE}.",
        ),
        (
            "--method ties art.safetensors photo.pt --out m.safetensors",
            "Merge method `ties` works on the change from a start model; name its file with `--base FILE`.",
        ),
        (
            "--method uniform art.safetensors photo.pt --lines 1,1 --out m.safetensors",
            "`--lines` works on the change from a start model; name its file with `--base FILE`.",
        ),
        (
            "--method uniform --out m.safetensors",
            f"There are no files to merge; write {EXAMPLE}.",
        ),
        ("--method", "`--method` needs a value; write `--method NAME`."),
        (
            "--method uniform art.safetensors art.safetensors --out m.safetensors",
            "The source `art` is given twice; give every source once, with a name of its own: NAME=FILE.",
        ),
        (
            "--method uniform art.safetensors old/art.safetensors --out m.safetensors",
            "The source `art` is the name of `art.safetensors` and of `old/art.safetensors`; give every source once, "
            "with a name of its own: NAME=FILE.",
        ),
        (
            "--method uniform =art.safetensors --out m.safetensors",
            "Expected a source as NAME=FILE, but got `=art.safetensors`.",
        ),
        ("--method uniform art= --out m.safetensors", "Expected a source as NAME=FILE, but got `art=`."),
        (
            "--method uniform art=gone.safetensors --out m.safetensors",
            "The weights file `gone.safetensors` does not exist; give the path of a weights file.",
        ),
        (
            f"--method uniform art.safetensors {'m' * 300} --out m.safetensors",
            f"No file can be called `{'m' * 300}`: the name is too long.",
        ),
        (f"--show {'m' * 300}", f"No file can be called `{'m' * 300}`: the name is too long."),
        (
            "--method uniform art.safetensors photo.pt --out m.pt",
            "Expected the output to end in `.safetensors`, but got `m.pt`.",
        ),
        (
            "--method uniform art.safetensors photo.pt --out art.safetensors",
            "The output `art.safetensors` is one of the inputs; choose another name.",
        ),
        (
            f"{TIES} --prefix shot=model.",
            "`--prefix` names `shot`, which is neither a source nor `base`; did you mean `photo`?",
        ),
        (f"{TIES} --prefix model.", "Expected `--prefix` to be NAME=TEXT,..., but got `model.`."),
        (
            "--method uniform runs/lr=0.1/last.ckpt --out m.safetensors",
            "The weights file `runs/lr=0.1/last.ckpt` does not exist; give the path of a weights file.",
        ),
        (
            f"{TIES} --weights art=2 photo=1",
            "`photo=1` is no file; weights are written as one word, `--weights photo=1,...`.",
        ),
        (f"{TIES} --weights art=2,phot=1", "`--weights` names `phot`, which is no source; did you mean `photo`?"),
        (f"{TIES} --weights art=2", "`--weights` leaves out the source `photo`; give every source a weight."),
        (f"{TIES} --weights art=2,photo=much", "Expected the weight of `photo` to be a number, but got `much`."),
        (
            f"{TIES} --weights 2,photo=1",
            "`--weights` gives `2` without a source's name beside weights with one; write all as NAME=NUMBER, or all "
            "as NUMBER in the order of the files.",
        ),
        (
            f"{TIES} --weights 2",
            "`--weights` gives 1 number for 2 sources, `art`, `photo`; give one for each, in this order, or "
            "NAME=NUMBER,...",
        ),
        (
            f"{TIES} --weights 1,2,3",
            "`--weights` gives 3 numbers for 2 sources, `art`, `photo`; give one for each, in this order, or "
            "NAME=NUMBER,...",
        ),
        (f"{TIES} --weights 2,much", "Expected the weight of `photo` to be a number, but got `much`."),
        (f"{TIES} --weights 2,", "Expected the weight of `photo` to be a number, but got ``."),
        (f"{TIES} --weights art=1,art=2", "`--weights` names `art` twice; keep one of them."),
        (
            "--method uniform art.safetensors photo.pt --out m.safetensors --weights art=1,photo=2",
            "Merge method `uniform` takes no weights; leave `--weights` out or choose another method.",
        ),
        (
            "--method weighted art.safetensors photo.pt --out m.safetensors --weights art=1,photo=-1",
            "The weights of `art`, `photo` sum to zero; an average needs another sum.",
        ),
        (f"{TIES} --buffers momets", "There is no `--buffers momets`; did you mean `moments`?"),
        (f"{TIES} --precision fp16", "There is no `--precision fp16`; did you mean `fp64`?"),
        (
            f"{TIES} --dtype int8",
            "There is no `--dtype int8`; it can be `float32`, `float16`, `bfloat16`, `float64`, `float8_e4m3fn`, "
            "`float8_e5m2`.",
        ),
        (f"{TIES} --lines 1", "Expected `--lines` to be two numbers, such as `0.5,0.5`, but got `1`."),
        (f"{TIES} --threads 0", "Expected `--threads` to be a whole number of 1 or more, but got `0`."),
        (f"{TIES} --allow-nonfinite=yes", "`--allow-nonfinite` is a switch and takes no value, but got `yes`."),
        (f"{TIES} -o x", "There is no option `-o`; see `hamdg merge --help`."),
        (
            "--method greedy_soup art.safetensors photo.pt --out m.safetensors",
            "Merge method `greedy_soup` needs validation, which no file holds; call `hamdg.merge.merge` from Python, "
            "with `evidence`.",
        ),
        (
            "--method adamerging --base zero.safetensors art.safetensors photo.pt --out m.safetensors",
            "Merge method `adamerging` needs data of the target domain, which no file holds; call `hamdg.merge.merge` "
            "from Python, with `evidence`.",
        ),
        (
            "--method fisher art.safetensors photo.pt --out m.safetensors",
            "Merge method `fisher` needs gradients; give a file of them for every source with "
            "`--statistics NAME=FILE`.",
        ),
        ("--list --density 0.2", "`hamdg merge --list` has no option `--density`; it can be `--markdown`."),
        ("--list --method ties", "`hamdg merge --list` has no option `--method`; it can be `--markdown`."),
        ("--list --markdwon", "`hamdg merge --list` has no option `--markdwon`; did you mean `--markdown`?"),
        ("--explain ties --out x", "`hamdg merge --explain` has no option `--out`; it takes none."),
        (
            "--list art.safetensors",
            "`hamdg merge --list` takes no files, but got `art.safetensors`; see `hamdg merge --help`.",
        ),
        (
            "--method consensus --base zero.safetensors art.safetensors --out m.safetensors",
            "Expected `--agree` to be at most the number of sources, 1, but got `2`; with it nothing would be left of "
            "any change.",
        ),
        (
            f"--method uniform art.safetensors photo.pt --out {'m' * 300}.safetensors",
            f"The output `{'m' * 300}.safetensors` cannot be written: file name too long; choose another name.",
        ),
        ("--explain tise", "There is no merge method `tise`; did you mean `ties`?"),
        ("--explain", "`--explain` needs a value; write `--explain NAME`."),
        (
            "--show art.safetensors",
            "`art.safetensors` says nothing about how it was made; `hamdg merge` writes that into the files "
            "that it makes.",
        ),
        (
            "--show gone.safetensors",
            "The weights file `gone.safetensors` does not exist; give the path of a weights file.",
        ),
        (
            "--compare art.safetensors photo.pt",
            "`--compare` looks at what the models changed from a start; name its file with `--base FILE`.",
        ),
        (
            "--compare art.safetensors --base zero.safetensors",
            "A comparison needs two models or more, but got 1.",
        ),
        (
            "--compare art.safetensors photo.pt --base zero.safetensors --out x.png",
            "`--compare` draws SVG pictures; give `--out` a name that ends in `.svg`, not `x.png`.",
        ),
        (
            "--compare art.safetensors photo.pt --base zero.safetensors --out zero.safetensors/x.svg",
            "Cannot write `zero.safetensors/x.svg`: File exists; name another file with `--out`.",
        ),
        (
            "",
            f"There is nothing to merge; name a run, or a method and files: {EXAMPLE}; see `hamdg merge --help`.",
        ),
        (
            "art.safetensors photo.pt --out m.safetensors",
            f"Files are merged by a method, which `--method` names: {EXAMPLE}; see `hamdg merge --help`.",
        ),
        (
            "art.safetensors",
            f"Files are merged by a method, which `--method` names: {EXAMPLE}; see `hamdg merge --help`.",
        ),
        (
            "run other --merge.buffers=first",
            "One run is merged again at a time, but got `run other`; name its directory.",
        ),
    ],
)
def test_wrong_usage_is_one_line_with_the_fix(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    assert failure(arguments, capsys) == said
    assert sorted(os.listdir()) == ["art.safetensors", "photo.pt", "zero.safetensors"]


def test_a_device_that_is_not_there_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(f"{TIES} --device abacus", capsys)
    assert said.startswith("The device `abacus` cannot be used (")
    assert said.endswith("); leave `--device` out for the CPU.")


def test_dtypes_that_differ_name_the_flag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({name: tensor.half() for name, tensor in read("art.safetensors").items()}, "half.safetensors")
    said = failure("--method uniform half.safetensors photo.pt --out m.safetensors", capsys)
    assert said.endswith("Name the result's with `--dtype`, for instance `float32`.")


def test_a_source_named_like_a_flag_is_meant_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = read("art.safetensors")
    del broken["head.bias"]
    save_file(broken, "base.safetensors")
    said = failure("--method uniform base.safetensors photo.pt --out m.safetensors", capsys)
    assert "`base` lacks `head.bias`" in said


def test_a_tensor_named_like_a_flag_is_meant_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"base": torch.ones(2), "out": torch.ones(2)}, "one.safetensors")
    save_file({"base": torch.ones(3), "out": torch.ones(2)}, "two.safetensors")
    said = failure("--method uniform one.safetensors two.safetensors --out m.safetensors", capsys)
    assert "in `two` `base` is floating-point (3,), not floating-point (2,)" in said


def test_every_method_is_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    table, others = capsys.readouterr().out.split("\n\nThe same by other names\n")
    assert [line.split()[0] for line in table.splitlines()[2:]] == list(methods())
    assert [line.split()[0] for line in others.splitlines()[2:]] == list(ALIASES)
    for name, info in methods().items():
        assert run(f"--explain {name}") == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{name}\n{'=' * len(name)}\n{info.summary}\n")
        for option in info.options.values():
            flag = "--" + option.name.replace("_", "-")
            assert f"  {flag}  " in said
            assert flag not in FLAGS, f"`{flag}` of {name} could never be given"
            assert option.text, f"{name} does not say what {flag} means"
        assert "Args:" not in said


def test_a_name_of_mergekit_merges_and_is_explained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = "--base zero.safetensors art.safetensors photo.pt --drop-rate 0.5"
    assert run(f"--method dare_ties {call} --out 1.safetensors") == 0
    said = capsys.readouterr().out
    assert said.startswith("method   dare_ties, which is dare\n")
    assert "options  drop_rate 0.5, rescale l1, seed 0, then ties, scale 1, " in said
    assert run(f"--method dare {call} --then ties --rescale l1 --scale 1 --ties-combine sum --out 2.safetensors") == 0
    assert Path("1.safetensors").read_bytes() == Path("2.safetensors").read_bytes()
    capsys.readouterr()
    assert run("--explain dare_ties") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "dare_ties\n=========\n"
        "mergekit's name for `dare` with then ties, rescale l1, scale 1, ties_combine sum. As there, changes are"
    )
    assert "  --rescale  expectation | l1; default l1\n" in said
    assert "  --then" not in said


def test_an_explanation_says_ranges_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--explain ties") == 0
    said = capsys.readouterr().out
    assert "  --density  number at least 0 and at most 1; default 0.2\n" in said
    assert "  --scope  tensor | global | row; default global\n" in said
    assert "works on   what the models changed from a base\nneeds      base\n" in said
    assert run("--explain uniform") == 0
    assert capsys.readouterr().out.endswith("It has no options.\n")


def test_a_merged_file_says_how_it_was_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{TIES} --density 0.5 --weights art=2,photo=1") == 0
    capsys.readouterr()
    assert run("--show m.safetensors") == 0
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in capsys.readouterr().out.splitlines()}
    assert lines["method"] == "ties"
    assert lines["option density"] == "0.5"
    assert lines["option sign"] == "mass"
    assert lines["setting precision"] == "fp32"
    assert lines["source art"].startswith("weight 2, blake3 ")
    assert run("--show m.safetensors --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "ties"
    assert found["options"]["density"] == 0.5
    assert found["weights"] == {"art": 2.0, "photo": 1.0}


def test_inputs_are_digested_with_the_hash_of_choice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{TIES} --digest sha256") == 0
    capsys.readouterr()
    assert run("--show m.safetensors") == 0
    assert f"sha256 {sha256_file(folder / 'art.safetensors')}" in capsys.readouterr().out
    message = "Expected files to be digested with `sha256` or `blake3`, but got `md5`."
    assert failure(f"{TIES} --digest md5", capsys) == message


def test_models_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = "--compare art.safetensors photo.pt --base zero.safetensors"
    assert run(call) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[-4:]] == ["conv1", "blocks.0", "blocks.1", "head"]
    assert "art / photo" in said
    assert run(f"{call} --json --out picture.svg") == 0
    found = json.loads(capsys.readouterr().out)
    base, art = read("zero.safetensors"), read("art.safetensors")
    length = sum(float((art[name] - base[name]).double().square().sum()) for name in base) ** 0.5
    assert found["lengths"]["art"][""] == pytest.approx(length)
    assert ElementTree.parse("picture.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_lowest_and_highest_are_shown_for_several_pairs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--compare art.safetensors photo.pt still=zero.safetensors --base zero.safetensors") == 0
    said = capsys.readouterr().out
    assert "lowest  highest" in said
    assert "art / still         -            -\n" in said.replace("\N{EN DASH}", "-")
