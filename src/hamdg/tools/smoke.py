"""Runs recipes on a few images and steps: `python -m hamdg.tools.smoke experiments --benchmark pacs`.

Recipes of benchmarks that are kept on a disk get made-up images in folders with the right names, or a few of your own
(`--root`), and a small network with weights that a seed draws, so that neither data nor weights are needed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from hamdg import console
from hamdg.config.data import CUSTOM, RENDERED
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import CLASSIFIERS, Recipe
from hamdg.config.recipe_file import base_of, file_settings, named_algorithm
from hamdg.config.shipped import kind_of
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
    "--train.check_every=1",  # SWAD wants three validations
    "--train.check_images=8",
    "--evaluate.images=8",
    "--runtime.threads=1",  # where other work keeps the cores busy, two threads wait for each other
    "--runtime.quiet=true",
)
# In place of networks that are large or have to be downloaded; the last ones are beside the run's own.
CLASSIFIER = ("--model.name=mini-resnet8", "--model.weights=null", "--model.image_size=32")
SEGMENTER = ("--model.name=mini-unet", "--model.weights=null", "--model.image_size=32")
OTHERS = ("--scmd.teacher.name=mini-rn", "--scmd.teacher.weights=random", "--simple.pool=[mini-rn,mini-vit]")
# Steps of algorithms that have settings of their own.
OWN_STEPS = (
    "--dmm.start.steps=4",
    "--dmm.synthesize.images=8",
    "--dmm.synthesize.steps=4",
    "--dmm.distill.steps=4",
    "--dmm.distill.batch_size=8",
    "--mtda.adapt.steps=2",
    "--mtda.reestimate.images=4",
    "--simple.steps=4",
    "--simple.average_from=2",
    "--soup.runs=2",
    "--coop.context=2",
    "--erm_pp.classifier_steps=1",
    "--erm_pp.average_start=2",
)
# Of images with label maps, which a subset does not take by class, some have to be left for validation.
SCENES = ("--data.subset=10",)
# Points on each line between two models. One recipe is enough to show that they can be measured.
LINES = 3
SIDE = 32
PER_DOMAIN = 40
CUSTOM_IMAGES = Benchmark(CUSTOM, domains=("day", "dusk", "night"), classes=("cat", "dog"))
CUSTOM_TARGETS = "--held_out=dusk+night"


def recipes(folder: Path, name: str | None = None) -> list[Path]:
    """Return the recipes below a folder; sweep files are no recipes.

    Args:
        folder: The folder.
        name: The benchmark whose recipes are wanted. Without one, recipes that take all but the benchmark from another
            one are left out.
    """
    found = sorted(path for path in folder.rglob("*.yaml") if kind_of(path) == "recipe")
    if name is None:
        return [path for path in found if not _is_for_another_benchmark(path)]
    return [path for path in found if _benchmark(_given(path)) == name]


def _is_for_another_benchmark(path: Path) -> bool:
    """Return whether a recipe is based on one of the same algorithm for another benchmark."""
    base = base_of(path)
    if base is None or named_algorithm(path) != named_algorithm(base):
        return False
    return _benchmark(_given(path)) != _benchmark(_given(base))


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


def make_maps(root: Path, one: Benchmark, ids: Sequence[int]) -> Path:
    """Write a few made-up images and label maps of every domain, unless they are there; return their folder."""
    folder = root / f"{one.name}-maps-{hashlib.sha256(str(sorted(ids)).encode()).hexdigest()[:8]}"
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    for domain, number in product(one.domains, range(PER_DOMAIN // 2)):
        image, labels = (
            rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
            rng.choice(np.array(ids, np.uint16), (SIDE, SIDE)),
        )
        for kind, pixels in (("images", image), ("labels", labels)):
            place = folder / domain / kind / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
    return folder


def tiny_recipe(path: Path, root: Path, images: str | None = None, lines: int = 0) -> Recipe:
    """Return a recipe with few steps and images; its run and its cache lie below `root`.

    Args:
        path: The recipe.
        root: The folder of the run, and of made-up images.
        images: The folder of real images; without one they are made up.
        lines: Points on each line between two models.
    """
    places = (f"--runtime.root={root / 'runs'}", f"--data.cache={root / 'cache'}")
    overrides = [*TINY, f"--evaluate.lines={lines}", *places]
    given = _given(path)
    name, ids = _benchmark(given), _ids(given)
    overrides += _of_algorithm(given, OWN_STEPS)
    overrides += SCENES if RENDERED.get(name) == "scenes" or ids else ()
    if ids:
        place = images or make_maps(root / "images", CUSTOM_IMAGES, ids)
        overrides += [*SEGMENTER, f"--data.root={place}", *(() if images else (CUSTOM_TARGETS,))]
    elif name not in RENDERED:
        one = CUSTOM_IMAGES if name == CUSTOM else benchmark(name)
        overrides += [*_small_models(given), f"--data.root={images or make_images(root / 'images', one)}"]
    return read_recipe(path, overrides)


def _given(path: Path) -> dict[str, object]:
    """Return what a recipe says, by key; it need not be read, which a `custom` one can only be with its images."""
    return {one.key: one.value for one in file_settings(path)}


def _benchmark(given: Mapping[str, object]) -> str:
    return str(given.get("benchmark", Recipe().benchmark))


def _ids(given: Mapping[str, object]) -> list[int]:
    """Return the ids of label maps that a recipe names; what is wrong with them is said when it is read."""
    found = given.get("data.ids")
    return [int(one) for one in found if str(one).isdecimal()] if isinstance(found, dict) else []


def _small_models(given: Mapping[str, object]) -> tuple[str, ...]:
    """Return what replaces the models of a recipe that need weights."""
    name = str(given.get("model.name"))
    # A method may need the attention of a vision transformer. The shipped weights know few words; without any, the text
    # tower tells all of them apart.
    clip = ("--model.name=mini-vit" if name.startswith("ViT") else "--model.name=mini-rn", "--model.weights=random")
    # It has fewer stages than most networks.
    frozen = ("--model.frozen_blocks=1",) if given.get("model.frozen_blocks") else ()
    return (*((*CLASSIFIER, *frozen) if name.startswith(CLASSIFIERS) else clip), *_of_algorithm(given, OTHERS))


def _of_algorithm(given: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Return those overrides that are of the section of a recipe's algorithm."""
    return [one for one in overrides if one.startswith(f"--{given.get('algorithm')}.")]


def main(arguments: list[str]) -> int:
    """Run the recipes and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hamdg.tools.smoke", description="Run recipes on a few images.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("experiments"), help="where the recipes lie")
    parser.add_argument("--benchmark", metavar="NAME", help="only the recipes of this benchmark")
    parser.add_argument("--root", metavar="FOLDER", help="real images to take a few of (with --benchmark)")
    given = parser.parse_args(arguments)
    if given.root is not None and given.benchmark is None:
        parser.error("`--root` holds the images of one benchmark: name it with `--benchmark`")
    found = recipes(given.folder, given.benchmark)
    if not found:
        of = f" of the benchmark `{given.benchmark}`" if given.benchmark else ""
        print(f"smoke: there is no recipe{of} below `{given.folder}`", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        for path in found:
            try:
                recipe = tiny_recipe(path, Path(root), given.root, LINES if path == found[0] else 0)
                pipeline.run(recipe, command=f"smoke {path}", show=False)
            except HamdgError as error:
                print(f"smoke: {path}: {error}", file=sys.stderr)
                return error.exit_code
            console.result(f"smoke: {path} passed")
    console.result(f"smoke: {len(found)} recipes in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
