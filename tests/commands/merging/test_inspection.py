"""`hamdg merge --list`, `--explain`, `--show` and `--compare`."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hamdg.commands.merging.flags import FLAGS
from hamdg.digests import sha256_file
from hamdg.merge import list_methods
from hamdg.merge.aliases import ALIASES
from tests.commands.merging.conftest import TIES, failure, read, run


def test_every_method_is_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    table, others = capsys.readouterr().out.split("\n\nThe same by other names\n")
    assert [line.split()[0] for line in table.splitlines()[2:]] == list(list_methods())
    assert [line.split()[0] for line in others.splitlines()[2:]] == list(ALIASES)
    for name, info in list_methods().items():
        assert run(f"--explain {name}") == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{name}\n{'=' * len(name)}\n{info.summary}\n")
        for option in info.options.values():
            flag = "--" + option.name.replace("_", "-")
            assert f"  {flag}  " in said
            # What needs hold-out sets is not called on files.
            free = flag not in FLAGS or "holdout" in info.needs
            assert free, f"`{flag}` of {name} could never be given"
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
    assert "  --density  a number between 0 and 1; default 0.2; a search tries 0.1, 0.2, 0.4, 0.8\n" in said
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
    assert run(f"{call} --json --out image.svg") == 0
    found = json.loads(capsys.readouterr().out)
    base, art = read("zero.safetensors"), read("art.safetensors")
    length = sum(float((art[name] - base[name]).double().square().sum()) for name in base) ** 0.5
    assert found["lengths"]["art"][""] == pytest.approx(length)
    assert ElementTree.parse("image.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_lowest_and_highest_are_shown_for_several_pairs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--compare art.safetensors photo.pt still=zero.safetensors --base zero.safetensors") == 0
    said = capsys.readouterr().out
    assert "lowest  highest" in said
    assert "art / still         -            -\n" in said.replace("\N{EN DASH}", "-")
