"""Every example of docs/extending.md is installed with pip and run through the real command line."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.extending.conftest import DOCUMENT, hamdg, read_example
from tests.tiny import as_arguments, tiny_settings

if TYPE_CHECKING:
    from tests.extending.conftest import Install

HEADINGS: list[str] = re.findall(r"^## (An? .*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("heading", HEADINGS)
def test_an_example_is_short(heading: str) -> None:
    code = [text for name, text in read_example(heading).items() if name.endswith(".py")]
    lines = [line for line in "\n".join(code).splitlines() if line.strip()]
    assert 5 < len(lines) <= 40


@pytest.mark.slow
def test_an_algorithm(install: Install, tmp_path: Path) -> None:
    options = as_arguments(tiny_settings())
    run = ["run", "mini/erm", "--algorithm=mixup", "--held_out=photo", *options]
    wrong = ["--mixup.alpa=0.4", "--mixup.alpha=0"]
    calls = [[*run, one] for one in (*wrong, "--mixup.alpha=0.4")]
    done = hamdg(install("An algorithm"), tmp_path, *calls, codes=[2, 2, 0])
    unknown, low = done.stderr.splitlines()
    assert unknown.endswith("did you mean `--mixup.alpha`?")
    assert "`mixup.alpha` to be a number above 0, but got `0" in low
    (record,) = (tmp_path / "lightning_logs").glob("mini/photo/mixup/*/record.json")
    assert [row["key"] for row in json.loads(record.read_text())["rows"]] == ["zero_shot", "mixup"]


@pytest.mark.slow
def test_a_benchmark(install: Install, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for domain, name in product(("Fog", "rain", "sun"), ("bike", "automobile")):
        folder = tmp_path / "data" / "Weather" / domain / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
    options = as_arguments({key: value for key, value in tiny_settings().items() if not key.startswith("data.mini")})
    call = ["run", "mini/erm", "--benchmark=weather", "--held_out=sunshine", *options]
    done = hamdg(install("A benchmark"), tmp_path, ["data", "list"], call)
    assert "\nweather (Weather)\n    domains   fog, rain, sun\n    classes   2: bike, car\n" in done.stdout
    assert "weather, held out: sun (20 images)" in done.stdout


def test_a_merge_method(install: Install, tmp_path: Path) -> None:
    base = torch.tensor([1.0, 1.0])
    for name, tensor in (("base", base), ("a", base + 1), ("b", base + 2), ("c", base + 9)):
        save_file({"w": tensor}, tmp_path / f"{name}.safetensors")
    call = "merge --method median --scale 0.5 a.safetensors b.safetensors c.safetensors --base base.safetensors"
    done = hamdg(install("A merge method"), tmp_path, ["merge", "--list"], [*call.split(), "--out", "m.safetensors"])
    row = next(line for line in done.stdout.splitlines() if line.startswith("median "))
    assert "Add the median of the sources' changes to the base, entry by entry" in row
    assert "options  scale 0.5\n" in done.stdout
    # The changes are 1, 2 and 9; half the median is 1.
    assert load_file(tmp_path / "m.safetensors")["w"].tolist() == [2.0, 2.0]


# Fails the first time, and leaves a line for every run that it begins.
BEGIN = """#!/bin/sh
echo "$2" >> began.txt
if [ "$(wc -l < began.txt)" = 1 ]; then echo "no place is free" >&2; exit 1; fi
exec "$@"
"""


@pytest.mark.slow
def test_a_launcher(install: Install, tmp_path: Path) -> None:
    grid = {"held_out": ["sketch"], "seeds": [0], "variants": {"ERM": {"recipe": "mini/erm", "set": tiny_settings()}}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    (tmp_path / "begin").write_text(BEGIN)
    (tmp_path / "begin").chmod(0o755)
    call = ["sweep", "grid.yaml", "--launcher", "prefix", "--launcher.prefix.command=./begin"]
    done = hamdg(install("A launcher"), tmp_path, call, call, codes=[1, 0])
    place = "variant `ERM`, condition `clean`, held out `sketch`, seed 0"
    assert f"1 of 1 runs failed: {place}: RuntimeError: no place is free." in done.stderr
    assert (tmp_path / "began.txt").read_text() == "-c\n-c\n"
    assert len(list((tmp_path / "lightning_logs").glob("mini/sketch/erm/*/done"))) == 1


@pytest.mark.slow
def test_a_logger(install: Install, tmp_path: Path) -> None:
    options = as_arguments(tiny_settings())
    run = ["run", "mini/erm", "--held_out=photo", *options, "--tracking.options.diary.file=runs.txt"]
    package = install("A logger")
    done = hamdg(package, tmp_path, [*run, "--tracking=dairy"], [*run, "--tracking", "diary"], codes=[2, 0])
    assert "there is no logger `dairy`; did you mean `diary`?" in done.stderr
    lines = (tmp_path / "runs.txt").read_text().splitlines()
    steps = [line.partition(":")[0] for line in lines]
    assert steps == [name for name in ("train", "merge", "evaluate") for _ in range(3)]
    assert lines[0] == "train: train ERM + SMA on photo, seed 0 (lr 0.001)"
    assert lines[1].startswith("train: loss/pooled ")
    assert "accuracy 0." in lines[7]
    assert {line for line in lines if line.endswith(": done")} == {"train: done", "merge: done", "evaluate: done"}
