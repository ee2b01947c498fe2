"""Runs every recipe below a folder on a few images and steps: `python -m hamdg.tools.smoke experiments`.

Recipes of benchmarks that are kept on a disk get made-up images in folders with the right names, and the shipped
CLIP, so that neither data nor weights are needed.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from hamdg import console
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.registry import benchmark
from hamdg.errors import HamdgError
from hamdg.stages import pipeline

TINY = (
    "--data.subset=4",
    "--data.batch_size=4",
    "--data.mini.images_per_class=8",
    "--train.steps=4",
    "--train.warmup=1",
    "--train.check_every=2",
    "--runtime.threads=1",  # where other work keeps the cores busy, two threads wait for each other
    "--runtime.quiet=true",
)
# The shipped CLIP knows few words: features of most classes have to come from the images.
SHIPPED = ("--model.name=mini-rn", "--model.weights=null", "--model.text_head=source_means")
SIDE = 32
PER_DOMAIN = 40
CUSTOM_IMAGES = Benchmark(CUSTOM, domains=("day", "dusk", "night"), classes=("cat", "dog"))


def recipes(folder: Path) -> list[Path]:
    """Return all recipes below a folder; sweep files are not recipes."""
    return sorted(path for path in folder.rglob("*.yaml") if "sweeps" not in path.parts)


def make_images(root: Path, one: Benchmark) -> Path:
    """Write a few made-up images of every class and domain, unless they are there; return their folder."""
    folder = root / one.name
    if folder.exists():
        return folder
    # Of two in each domain, every class has some in the training part of a source.
    rng, per_class = np.random.default_rng(0), max(2, PER_DOMAIN // len(one.classes))
    for domain, name in product(one.domains, one.classes):
        place = folder / domain / name
        place.mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.bmp")
    return folder


def tiny_recipe(path: Path, root: Path) -> Recipe:
    """Return a recipe with few steps and images; its run, its cache and its images lie below `root`."""
    overrides = [*TINY, f"--runtime.root={root / 'runs'}", f"--data.cache={root / 'cache'}"]
    one = _benchmark_of(path)
    if one.name != "mini":
        overrides += [*SHIPPED, f"--data.root={make_images(root / 'images', one)}"]
    return read_recipe(path, overrides)


def _benchmark_of(path: Path) -> Benchmark:
    """Return a recipe's benchmark, for which it need not be read: a `custom` one can only be read with its images."""
    given = re.search(r"^benchmark: *(\w+)", path.read_text(), re.MULTILINE)
    name = given[1] if given else "mini"
    return CUSTOM_IMAGES if name == CUSTOM else benchmark(name)


def main(arguments: list[str]) -> int:
    """Run the recipes and return the exit code."""
    folder = Path(arguments[0]) if arguments else Path("experiments")
    found = recipes(folder)
    if not found:
        print(f"smoke: there is no recipe below `{folder}`", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        for path in found:
            try:
                pipeline.run(tiny_recipe(path, Path(root)), command=f"smoke {path}", show=False)
            except HamdgError as error:
                print(f"smoke: {path}: {error}", file=sys.stderr)
                return error.exit_code
            console.result(f"smoke: {path} passed")
    console.result(f"smoke: {len(found)} recipes in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
