"""Runs every recipe below a folder on a few pictures and steps: `python -m hamdg.stages.smoke experiments`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from hamdg import console
from hamdg.errors import HamdgError
from hamdg.recipe import read_recipe
from hamdg.stages import pipeline

TINY = (
    "--data.subset=4",
    "--data.batch_size=4",
    "--data.mini.images_per_class=8",
    "--train.steps=4",
    "--train.warmup=1",
    "--train.check_every=2",
    "--runtime.quiet=true",
)


def recipes(folder: Path) -> list[Path]:
    """Return all recipes below a folder; sweep files are no recipes."""
    return sorted(path for path in folder.rglob("*.yaml") if "sweeps" not in path.parts)


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
                pipeline.run(read_recipe(path, [*TINY, f"--runtime.root={root}"]), command=f"smoke {path}")
            except HamdgError as error:
                print(f"smoke: {path}: {error}", file=sys.stderr)
                return error.exit_code
            console.result(f"smoke: {path} passed")
    console.result(f"smoke: {len(found)} recipes in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
