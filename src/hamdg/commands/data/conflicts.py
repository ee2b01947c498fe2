"""The verb `hamdg data conflicts`: what the sources of a recipe disagree about, before anything is trained."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from hamdg.commands.numbers import check_count
from hamdg.errors import ConfigError

SUMMARY = "measure from a recipe's start model how its sources disagree, before training"
OPTIONS = ("--images", "--gradient-images", "--show", "--out")
EPILOG = (
    "Reads the training parts of the sources alone; the held-out domain is not opened. Further arguments are keys of "
    "the recipe, as --key.sub=value. Exit code 0: measured. 2: wrong usage, no images or no weights."
)
_INTERRUPTED = 130
_IMAGES, _GRADIENT_IMAGES = 2_000, 256
_MOST_IMAGES, _MOST_SHOWN = 100_000_000, 1_000


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    verb.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a recipe of `hamdg recipes`, such as mini/ham")
    text = f"training images of each source that labels and enrichment are judged by, at most (default: {_IMAGES:,})"
    verb.add_argument("--images", type=int, default=_IMAGES, metavar="N", help=text)
    text = f"training images of each source that gradients are made of, at most (default: {_GRADIENT_IMAGES})"
    verb.add_argument("--gradient-images", type=int, default=_GRADIENT_IMAGES, metavar="N", help=text)
    text = "suspicious labels of each source that are printed (default: 5); --json and --out have more"
    verb.add_argument("--show", type=int, default=5, metavar="N", help=text)
    verb.add_argument("--out", type=Path, metavar="FILE", help="write an HTML page with figures, too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write what was asked for; return the exit code."""
    check_count("--images", arguments.images, _MOST_IMAGES)
    check_count("--gradient-images", arguments.gradient_images, _MOST_IMAGES)
    check_count("--show", arguments.show, _MOST_SHOWN)
    out: Path | None = arguments.out
    if arguments.images < 2:
        raise ConfigError("Expected `--images` to be at least 2, as each label is judged by other images, but got `1`.")
    if arguments.gradient_images < 2:
        raise ConfigError("Expected `--gradient-images` to be at least 2, one for each half, but got `1`.")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"Cannot write `{out}`: it is a folder, or its folder is missing; name another with `--out`.")

    from hamdg.config.reading import read_recipe
    from hamdg.config.shipped import find_file

    recipe = read_recipe(find_file(arguments.recipe), arguments.overrides)

    from hamdg import console
    from hamdg.commands.data import conflict_report
    from hamdg.conflicts.measure import measure
    from hamdg.conflicts.page import write_page

    try:
        found = measure(recipe, images=arguments.images, gradient_images=arguments.gradient_images)
    except KeyboardInterrupt:
        print("\nhamdg: stopped; nothing was written.", file=sys.stderr)
        return _INTERRUPTED
    conflict_report.show(found, arguments.show)
    pages: dict[str, object] = {}
    if out is not None:
        write_page(out, found, _command(arguments))
        console.result(f"\nThe page is in {out}.")
        pages = {"page": out}
    console.result_json(conflict_report.values(found) | pages)
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that measures the same."""
    given = {
        "--images": (arguments.images, _IMAGES),
        "--gradient-images": (arguments.gradient_images, _GRADIENT_IMAGES),
    }
    own = [f"{name}={value}" for name, (value, default) in given.items() if value != default]
    return shlex.join(["hamdg", "data", "conflicts", arguments.recipe, *own, *arguments.overrides])
