"""Where a benchmark's pictures are: in a folder of this machine, or on the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hamdg.data.benchmark import Benchmark, Hub, normalised
from hamdg.data.layout import domain_folders, subfolders
from hamdg.errors import DataError


@dataclass(frozen=True)
class Place:
    """Where a benchmark's pictures are.

    Args:
        benchmark: The benchmark.
        root: The folder that holds its domains, if it is one.
        hub: Otherwise the hub's data set.
    """

    benchmark: Benchmark
    root: Path | None
    hub: Hub | None


def locate(benchmark: Benchmark, root: str | None = None, hub: Hub | None = None) -> Place:
    """Find the pictures of a benchmark.

    Args:
        benchmark: The benchmark.
        root: The folder that holds it; `None` looks for one.
        hub: A data set on the hub, instead.

    Raises:
        DataError: If they are nowhere; the message says where it looked and how to provide them.
    """
    if root is not None:
        return Place(benchmark, Path(root).expanduser(), None)
    for base in (os.environ.get("HAMDG_DATA"), "data"):
        if base and (found := _below(benchmark, Path(base).expanduser())) is not None:
            return Place(benchmark, found, None)
    if (hub or benchmark.hub) is not None:
        return Place(benchmark, None, hub or benchmark.hub)
    raise DataError(
        f"The pictures of `{benchmark.name}` were found nowhere; give their folder with `--data.root=FOLDER`."
    )


def _below(benchmark: Benchmark, base: Path) -> Path | None:
    for folder in benchmark.folders:
        here: Path | None = base
        for part in Path(folder).parts:
            here = _child(here, part) if here is not None else None
        if here is not None and domain_folders(benchmark, subfolders(here)):
            return here
    return None


def _child(folder: Path, wanted: str) -> Path | None:
    names = subfolders(folder) if folder.is_dir() else []
    return next((folder / name for name in names if normalised(name) == normalised(wanted)), None)
