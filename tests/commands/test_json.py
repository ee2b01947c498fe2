"""`--json` of every verb that prints a result: one document that parses, with the numbers of the text."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from hamdg import cli, doctor
from hamdg.config.shipped import shipped_names
from hamdg.data import registry
from hamdg.data.registry import benchmark
from hamdg.merge import list_methods
from tests.conftest import GOLDEN
from tests.toys import TOYS, grow

if TYPE_CHECKING:
    from collections.abc import Mapping

Said = pytest.CaptureFixture[str]
# Tested here; those of the pipeline, of sweeps, of records and of conflicts beside their other tests.
HERE = {"merge", "table", "report", "dashboard", "recipes", "doctor"}
HERE |= {f"data {name}" for name in ("list", "verify", "prepare", "sheet", "cache list", "cache delete")}
ELSEWHERE = {"run", "evaluate", "sweep", "data conflicts", "records pack", "records unpack"}


def both(capsys: Said, *arguments: str, code: int = 0) -> tuple[Mapping[str, object], str]:
    """Return the document of a command, and what it prints without `--json`."""
    capsys.readouterr()
    assert cli.main([*arguments, "--json", "--quiet"]) == code
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert isinstance(found, dict)
    assert cli.main([*arguments]) == code
    return found, capsys.readouterr().out


def verbs(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """Yield every verb that prints a result."""
    if any("--json" in action.option_strings for action in parser._actions):
        yield before.strip()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from verbs(inner, f"{before} {name}")


def test_every_verb_that_prints_a_result_is_tested() -> None:
    assert set(verbs(cli._build_parser([]))) == HERE | ELSEWHERE


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("zero", "art", "photo")):
        generator = torch.Generator().manual_seed(number)
        save_file({"conv1.weight": torch.randn(4, 3, generator=generator)}, f"{name}.safetensors")
    return tmp_path


def test_merge_says_what_it_made_and_what_it_was_made_of(models: Path, capsys: Said) -> None:
    call = ("merge", "--method", "ties", "--base", "zero.safetensors", "art.safetensors", "photo.safetensors")
    found, text = both(capsys, *call, "--out", "m.safetensors", "--density=0.37")
    assert found["method"] == "ties"
    assert isinstance(found["options"], dict)
    assert found["options"]["density"] == 0.37
    assert "density 0.37" in text
    assert found["bytes"] == Path("m.safetensors").stat().st_size
    assert found["sources"] == {"art": "art.safetensors", "photo": "photo.safetensors"}
    shown, text = both(capsys, "merge", "--show", "m.safetensors")
    assert shown["options"] == found["options"]
    assert isinstance(shown["sources"], dict)
    assert all(digest in text for digest in shown["sources"].values())


def test_merge_compares(models: Path, capsys: Said) -> None:
    files = ("art.safetensors", "photo.safetensors", "--base", "zero.safetensors")
    found, text = both(capsys, "merge", "--compare", *files)
    lengths = found["lengths"]
    assert isinstance(lengths, dict)
    assert all(f"{own['']:.4g}" in text for own in lengths.values())


def test_merge_lists_and_explains(capsys: Said) -> None:
    found, text = both(capsys, "merge", "--list")
    methods = found["methods"]
    assert isinstance(methods, list)
    assert [one["name"] for one in methods] == list(list_methods())
    assert all(one["name"] in text for one in methods)
    found, text = both(capsys, "merge", "--explain", "ties")
    options = found["options"]
    assert isinstance(options, list)
    assert all(f"--{one['name'].replace('_', '-')}" in text for one in options)
    density = next(one for one in options if one["name"] == "density")
    assert f"default {density['default']:g}" in text
    assert cli.main(["merge", "--list", "--markdown", "--json"]) == 2


def test_table_and_report(tmp_path: Path, capsys: Said) -> None:
    shutil.copytree(GOLDEN / "ham", tmp_path / "runs" / "ham")
    found, text = both(capsys, "table", str(tmp_path / "runs"))
    numbers = re.findall(r"0\.\d{4,}", json.dumps(found))
    assert numbers
    assert any(f"{100 * float(number):.1f}" in text for number in numbers)
    found, text = both(capsys, "report", str(tmp_path / "runs"))
    assert found["pages"] == text.split()


def test_dashboard_prints_its_layout(capsys: Said) -> None:
    found, text = both(capsys, "dashboard", "hamdg", "--dry-run")
    assert found
    assert all(key in text for key in found)


def test_recipes(capsys: Said) -> None:
    found, text = both(capsys, "recipes")
    recipes = found["recipes"]
    assert isinstance(recipes, list)
    assert [one["name"] for one in recipes] == [*shipped_names("recipe"), *shipped_names("sweep file")]
    assert all(f"command   {one['command']}\n" in text and one["time"] in text for one in recipes)


def test_doctor(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = {"gpu": None, "devices": 0, "built_for": None}
    monkeypatch.setattr(doctor, "_import_torch", lambda: (json.dumps(probe), False))
    found, text = both(capsys, "doctor")
    checks = found["checks"]
    assert isinstance(checks, list)
    assert found["broken"] == []
    stable = [one for one in checks if one["name"] in ("Python", "torch", "lightning")]
    assert len(stable) == 3
    assert all(one["detail"] in text for one in stable)


def test_data_list_names_benchmarks(capsys: Said) -> None:
    found, text = both(capsys, "data", "list")
    benchmarks = found["benchmarks"]
    assert isinstance(benchmarks, list)
    (pacs,) = (one for one in benchmarks if one["name"] == "pacs")
    assert tuple(pacs["domains"]) == benchmark("pacs").domains
    for name, images in pacs["versions"].items():
        assert f"{images:,}, {name}" in text


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a folder with the images of a small benchmark, `toys`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAMDG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(registry.builtin(), "toys", TOYS)
    return str(grow(tmp_path))


def test_data_verify_and_its_faults(toys: str, capsys: Said) -> None:
    found, text = both(capsys, "data", "verify", "toys", toys)
    assert (found["good"], found["faults"], found["unreadable"]) == (True, [], {})
    card = json.loads(Path("data_card.json").read_text())
    assert found["card"] == card
    assert f"{card['pictures']:,}" in text
    next(Path(toys).rglob("*.png")).write_bytes(b"damaged")
    found, text = both(capsys, "data", "verify", "toys", toys, code=1)
    unreadable = found["unreadable"]
    assert isinstance(unreadable, dict)
    assert found["good"] is False
    assert all(f"{name}: {reason}" in text for name, reason in unreadable.items())


def test_data_prepare_sheet_and_cache(toys: str, capsys: Said) -> None:
    found, text = both(capsys, "data", "prepare", "toys", toys, "--size=32")
    images = found["images"]
    assert isinstance(images, dict)
    assert f"{sum(images.values()):,} images are decoded in {found['folder']}." in text
    found, text = both(capsys, "data", "sheet", "toys", toys, "--out=a.png")
    assert found["files"] == ["a.png"]
    assert text.split()[-1] == "a.png"
    found, text = both(capsys, "data", "cache", "list")
    stores = found["stores"]
    assert isinstance(stores, list)
    assert stores
    assert found["bytes"] == sum(one["bytes"] for one in stores)
    assert all(one["name"] in text for one in stores)
    assert cli.main(["data", "cache", "delete", "--all", "--json"]) == 0
    deleted = json.loads(capsys.readouterr().out)
    assert sorted(deleted["deleted"]) == sorted(one["name"] for one in stores)
    assert (deleted["bytes"], deleted["stores"], deleted["in_use"]) == (found["bytes"], 0, [])


def test_data_prepare_of_rendered_images(tmp_path: Path, capsys: Said) -> None:
    own = ("--data.mini.images_per_class=2", "--data.mini.image_size=32", f"--data.cache={tmp_path}")
    found, text = both(capsys, "data", "prepare", "mini", *own)
    assert found == {"folder": str(tmp_path), "images": dict.fromkeys(benchmark("mini").domains, 14)}
    assert text.count("14 images rendered") == 4
