from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hamdg.report.collection import FoundRun
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Cell, Table
from hamdg.report.tables.options import Absent, TableOptions
from hamdg.runs.record import Metrics, Row
from hamdg.runs.summary import StepUsage, Summary

DOMAINS = ["art", "photo", "sketch"]
FOOTNOTE = "HAM (reconstruction): parts are ours."
LABELS = {"ham": "HAM (reconstruction)", "erm": "ERM"}
Made = Callable[..., FoundRun]
# Accuracy by method, held-out domain and seed.
NUMBERS = {
    ("erm", "art"): [0.70, 0.72, 0.74],
    ("erm", "photo"): [0.80, 0.82, 0.84],
    ("ham", "art"): [0.73, 0.74, 0.78],
    ("ham", "photo"): [0.81, 0.85, 0.86],
}


def row(key: str, group: str, accuracy: float, targets: list[str], **metrics: object) -> Row:
    """Return a row with the same metrics on all targets; the parts follow the accuracy unless they are given."""
    validation = metrics.pop("validation", None)
    found: Metrics = {"accuracy": accuracy, "accuracy_in80": accuracy, "accuracy_in20": accuracy, "images": 100}
    found |= metrics  # type: ignore[arg-type]
    made: dict[str, object] = {
        "key": key,
        "label": key.replace("_", "-"),
        "group": group,
        "held_out": accuracy,
        "held_out_in80": accuracy,
        "standard_error": 0.01,
        "validation": validation,
        "note": "",
        "targets": {target: dict(found) for target in targets},
    }
    return made  # type: ignore[return-value]


def nested(changes: Mapping[str, object]) -> dict[str, Any]:
    """Return dotted keys as nested mappings."""
    found: dict[str, Any] = {}
    for key, value in changes.items():
        *folders, name = key.split(".")
        inner = found
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return found


def make(
    algorithm: str,
    held_out: str,
    seed: int,
    accuracy: float,
    *,
    label: str = "",
    condition: str = "clean",
    benchmark: str = "toy",
    settings: Mapping[str, object] | None = None,
    rows: list[Row] | None = None,
    digest: str = "d" * 64,
    opened: list[str] | None = None,
    timings: Mapping[str, float] | None = None,
    **metrics: object,
) -> FoundRun:
    """Return a finished run."""
    config = nested({"benchmark": benchmark, "held_out": held_out, "seed": seed, **(settings or {})})
    targets = held_out.split("+")
    excluded = config.get("excluded", [])
    label = label or LABELS.get(algorithm, algorithm)
    name = f"seed{seed}-{zlib.crc32(repr((algorithm, config, label, condition)).encode()):08x}"
    summary = Summary(
        format=2,
        benchmark=benchmark,
        held_out=held_out,
        targets=targets,
        algorithm=algorithm,
        label=label,
        footnote=FOOTNOTE if algorithm == "ham" else "",
        metric="accuracy",
        part="all",
        seed=seed,
        identity=name[-8:],
        classes=["cat", "dog"],
        domains=DOMAINS,
        sources=[name for name in DOMAINS if name not in (*targets, *excluded)],
        prompts=["a photo of a {}."],
        rows=[*(rows or []), row(algorithm, "merged", accuracy, targets, **metrics)],
        controls=[],
        steps={"train": StepUsage(["sources"], opened or [], 60.0, 960)},
        images_seen=960,
        n_held_out=100,
        timings=dict(timings or {"train": 60.0}),
        data_digest=digest,
        versions={"hamdg": "0.1.0"},
        command="hamdg run",
        config=config,
        condition=condition,
        variant=label,
    )
    return FoundRun(Path("logs") / benchmark / held_out / algorithm / name, summary)


@pytest.fixture
def made() -> Made:
    """Return the function that makes a finished run."""
    return make


@pytest.fixture
def runs(made: Made) -> list[FoundRun]:
    return [
        made(algorithm, held_out, seed, value)
        for (algorithm, held_out), values in NUMBERS.items()
        for seed, value in enumerate(values)
    ]


def one(runs: Sequence[FoundRun], *absent: Absent, **options: object) -> Table:
    (table,) = tabulate(runs, TableOptions(**options), absent)  # type: ignore[arg-type]
    return table


def cell(table: Table, row: str, column: str) -> Cell:
    rows, columns = [head.label for head in table.rows], [head.label for head in table.columns]
    return table.cells[rows.index(row)][columns.index(column)]


def near(found: Cell, mean: float, error: float | None, n: int) -> bool:
    same = found.standard_error is None if error is None else found.standard_error == pytest.approx(error)
    return found.mean == pytest.approx(mean) and same and found.n == n
