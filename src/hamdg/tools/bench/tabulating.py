"""A table of 5,000 records: `python -m hamdg.tools.bench tables`."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

from hamdg import console
from hamdg.config.reading import values_of
from hamdg.config.recipe import Recipe
from hamdg.runs.record import FORMAT
from hamdg.tools.bench.measure import Measured, measured

HEADERS = ("table", "records", "MB", "whole process, s (wanted 2)", "anonymous MB")
RECORDS = 5_000
DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
# Records of runs of the embedded benchmark, with their facts and figures, are as large.
BYTES = 21_000
_RECIPE = Recipe()
_METHODS = 10
_MODELS = 9
_CLASSES = 7
# What else lies in a run's directory, which a walk meets.
_FOLDERS, _FILES = ("train", "merge"), ("config.yaml", "done", "start.json", "splits.json", "train.json", "report.html")


def write_runs(root: Path, count: int) -> int:
    """Write directories of runs that look like those of a large comparison; return how many bytes their records have.

    Args:
        root: Where.
        count: How many.
    """
    total = 0
    generator = random.Random(0)
    for number, (seed, method, held_out) in zip(
        range(count), product(range(count), range(_METHODS), DOMAINS), strict=False
    ):
        folder = root / _RECIPE.benchmark / held_out / _RECIPE.algorithm / f"seed{seed}-{number:08x}"
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True)
        for name in _FILES:
            (folder / name).touch()
        text = json.dumps(_record(generator, method, held_out, seed, number), indent=1)
        (folder / "record.json").write_text(text)
        total += len(text)
    return total


def table_rows(root: Path, count: int, size: int) -> list[tuple[str, ...]]:
    """Make tables of all runs in fresh processes.

    Args:
        root: Where the runs are.
        count: How many there are.
        size: How many bytes their records have.
    """
    command = [sys.executable, "-m", "hamdg", "table", str(root), "--rows", "label"]
    arguments = {"means": [], "all models": ["--models", "all"], "differences": ["--baseline", "method 0"]}
    return [_row(title, count, size, measured([*command, *more])) for title, more in arguments.items()]


def main(count: int = RECORDS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as name:
        size = write_runs(Path(name), count)
        rows = table_rows(Path(name), count, size)
    console.table(HEADERS, rows, title="hamdg table")


def _row(title: str, count: int, size: int, run: Measured) -> tuple[str, ...]:
    return title, f"{count:,}", f"{size / 1e6:.0f}", f"{run.wall:.2f}", f"{run.anonymous / 1e6:.0f}"


def _record(generator: random.Random, method: int, held_out: str, seed: int, number: int) -> dict[str, object]:
    sources = [name for name in DOMAINS if name != held_out]
    rows = [_model(generator, f"model_{model}", held_out) for model in range(_MODELS)]
    step = {"reads": ["sources"], "opened": sources, "facts": {}, "figures": [], "seconds": 1.0, "images_seen": 960}
    record: dict[str, object] = {
        "format": FORMAT,
        "benchmark": _RECIPE.benchmark,
        "held_out": held_out,
        "targets": [held_out],
        "algorithm": _RECIPE.algorithm,
        "label": f"method {method}",
        "footnote": "",
        "metric": "accuracy",
        "part": "all",
        "seed": seed,
        "identity": f"{number:08x}",
        "held_out_accuracy": 0.5,
        "held_out_accuracy_in80": 0.5,
        "zero_shot_accuracy": 0.5,
        "source_accuracies": {},
        "validation_accuracy": 0.5,
        "classes": [f"class {one}" for one in range(_CLASSES)],
        "domains": list(DOMAINS),
        "sources": sources,
        "prompts": ["a photo of a {}."],
        "layers": [],
        "rows": [*rows, _model(generator, "result", held_out)],
        "controls": [],
        "steps": {"train": step, "merge": step},
        "images_seen": 960,
        "n_held_out": 700,
        "timings": {"train": 60.0, "merge": 1.0},
        "data_digest": "0" * 64,
        "versions": {"hamdg": "0"},
        "command": "hamdg run",
        "config": values_of(replace(_RECIPE, held_out=held_out, seed=seed)),
    }
    # Facts as a merge leaves them: many numbers, none of which a table needs.
    missing = max(BYTES - len(json.dumps(record, indent=1)), 0)
    record["steps"] = {"train": step, "merge": step | {"facts": {"numbers": [0.123456789012345] * (missing // 25)}}}
    return record


def _model(generator: random.Random, key: str, held_out: str) -> dict[str, object]:
    metrics = {name: generator.random() for name in ("accuracy", "accuracy_in80", "accuracy_in20", "calibration_error")}
    return {
        "key": key,
        "label": key,
        "group": "merged",
        "held_out": metrics["accuracy"],
        "held_out_in80": metrics["accuracy_in80"],
        "standard_error": 0.01,
        "validation": 0.9,
        "note": "",
        "targets": {
            held_out: {**metrics, "per_class_accuracy": [generator.random() for _ in range(_CLASSES)], "images": 700}
        },
    }
