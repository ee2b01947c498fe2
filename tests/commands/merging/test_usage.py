"""Wrong usage of `hamdg merge` is one line that says how to put it right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.commands.merging.conftest import TIES, failure, read

EXAMPLE = "`hamdg merge --method uniform a.safetensors b.safetensors --out merged.safetensors`"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--method tise art.safetensors --out m.safetensors", "There is no merge method `tise`; did you mean `ties`?"),
        ("--search", "`hamdg merge RUN --search` takes one run, but got 0; name the directory of one."),
        ("a b --search", "`hamdg merge RUN --search` takes one run, but got 2; name the directory of one."),
        ("run --search --budget 0", "Expected `--budget` to be an integer of at least 1, but got `0`."),
        ("run --search --methods tise", "There is no merge method `tise`; did you mean `ties`?"),
        (
            "run --search --base x",
            "`hamdg merge --search` has no option `--base`; it can be `--budget`, `--methods`, `--clean`.",
        ),
        ("--regret", "`hamdg merge --regret` studies finished runs; name runs, folders of them, or a sweep."),
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
            "Expected `--density` to be a number between 0 and 1, but got `2`.",
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
        (
            "--method uniform history/index.json --out m.safetensors",
            f"There are no models among `history/index.json`; write {EXAMPLE}.",
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
            "`photo=1` is not a file; weights are written as one word, `--weights photo=1,...`.",
        ),
        (f"{TIES} --weights art=2,phot=1", "`--weights` names `phot`, which is not a source; did you mean `photo`?"),
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
        (
            f"{TIES} --weights 1e-400,1",
            "The weight of `art`, `1e-400`, is too small; multiply all weights by a number.",
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
        (f"{TIES} --threads 0", "Expected `--threads` to be an integer of at least 1, but got `0`."),
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
            "Merge method `fisher` needs gradients; give a file of them for every source with `--evidence NAME=FILE`.",
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
            "`--compare` draws SVG images; give `--out` a name that ends in `.svg`, not `x.png`.",
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
