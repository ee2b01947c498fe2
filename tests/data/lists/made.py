"""Lists and files that tests of lists are given."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.find_images import list_domain
from hamdg.data.listing import Listing
from hamdg.data.resolve import place_of


def of(benchmark: Benchmark | str, lists: Path, root: Path | None = None, **changes: object) -> Recipe:
    name = benchmark if isinstance(benchmark, str) else benchmark.name
    data = DataConfig(lists=str(lists), root=None if root is None else str(root))
    return Recipe(benchmark=name, held_out="sketch", data=replace(data, **changes))  # type: ignore[arg-type]


def listing(recipe: Recipe, domain: str) -> Listing:
    return list_domain(place_of(recipe), domain)


def folder_listing(root: Path, domain: str, name: str = "pacs") -> Listing:
    return list_domain(place_of(Recipe(benchmark=name, data=DataConfig(root=str(root)))), domain)


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"not read")


def kfold(root: Path, folder: Path, first: int, prefix: str = "", end: str = "\n") -> Path:
    """Write lists as JiGen and Dassl have them: a part of each domain a file, and one with all of it; shuffled."""
    for domain in PACS.domains:
        paths = [path.relative_to(root).as_posix() for path in sorted((root / domain).rglob("*.*"))]
        random.Random(0).shuffle(paths)
        lines = [f"{prefix}{path} {PACS.classes.index(path.split('/')[1]) + first}" for path in paths]
        write(folder / f"{domain}_train_kfold.txt", *lines[::2], end=end)
        write(folder / f"{domain}_crossval_kfold.txt", *lines[1::2], end=end)
        write(folder / f"{domain}_test_kfold.txt", *lines, "", end=end)
    return folder


def pets(root: Path, *more: str) -> Path:
    files = [
        f"{domain}/{label}/my {number}.jpg" for domain in ("a", "b") for label in ("Z", "x y") for number in (1, 2)
    ]
    touch(root, *files, *more)
    rows = [f'"{file}", {file.split("/")[1]},{file[0]},4' for file in files]
    return write(root / "pets.csv", "path,class,domain,stars", *rows)
