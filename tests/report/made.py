"""Made-up evidence of a run: predictions, mistakes, lines and accuracies by domain that fit a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from hamdg.report.collection import FoundRun
from hamdg.report.evidence import Evidence
from hamdg.report.figures import StepData
from hamdg.report.metrics import Metrics, Series
from hamdg.runs.lines import LineFacts
from hamdg.runs.predictions import Mistakes, Predictions, TargetPredictions
from hamdg.runs.record import Record
from hamdg.runs.summary import summary_of


def predicted(record: Record, images: int = 140, seed: int = 0) -> TargetPredictions:
    """Return predictions of all rows, right about as often as the rows say; neighbors are confused most."""
    draw, classes = np.random.default_rng(seed), len(record["classes"])
    labels = np.sort(np.arange(images) % classes)
    answers, confidences = {}, {}
    for row in record["rows"]:
        right = draw.random(images) < row["held_out"]
        wrong = (labels + 1 + draw.geometric(0.7, images) - 1) % classes
        answers[row["key"]] = np.where(right, labels, np.where(wrong == labels, (labels + 1) % classes, wrong))
        own = np.where(right, draw.beta(6, 1.2, images), draw.beta(3, 1.5, images))
        confidences[row["key"]] = np.maximum(own, 1.01 / classes).astype(np.float32)
    return TargetPredictions(labels, answers, confidences)


def predictions(record: Record, images: int = 140, pictures: int = 24) -> Predictions:
    """Return predictions on every target, and the mistakes of the result as pictures of noise."""
    targets = {name: predicted(record, images, seed) for seed, name in enumerate(record["targets"])}
    key, first = record["rows"][-1]["key"], record["targets"][0]
    one = targets[first]
    wrong = np.flatnonzero(one.predicted[key] != one.labels)
    chosen = wrong[np.argsort(-one.confidence[key][wrong], kind="stable")][:pictures]
    noise = np.random.default_rng(9).integers(0, 256, (len(chosen), 24, 24, 3), dtype=np.uint8)
    return Predictions(targets, Mistakes(noise, (first,) * len(chosen), chosen) if len(chosen) else None)


def lines(record: Record) -> LineFacts:
    """Return lines that are straight."""
    at, result = [0.0, 0.25, 0.5, 0.75, 1.0], record["rows"][-1]
    begins = [row for row in record["rows"] if row["key"] == "zero_shot" or row["group"] == "source"]
    domains = [*record["sources"], *record["targets"]]

    def line(first: float, last: float) -> list[float | None]:
        return [(1 - share) * first + share * last for share in at]

    drawn = {row["key"]: {name: line(row["held_out"], result["held_out"]) for name in domains} for row in begins}
    return LineFacts(result=result["key"], at=at, images=dict.fromkeys(domains, 140), lines=drawn)


def by_source(record: Record) -> Record:
    """Return the record with an accuracy of every row on every source domain."""
    rows = [
        {
            **row,
            "sources": {name: min(1.0, row["held_out"] + 0.1 * index) for index, name in enumerate(record["sources"])},
        }
        for row in record["rows"]
    ]
    return cast("Record", {**record, "rows": rows})


def losses(values: Mapping[str, Sequence[float]], accuracies: Mapping[str, float] | None = None) -> dict[str, StepData]:
    """Return what a training leaves whose losses these are, by model, and whose last accuracies on hold-out sets."""
    series = {("loss", name, ""): Series(tuple(range(1, len(own) + 1)), tuple(own)) for name, own in values.items()}
    series |= {("validation/accuracy", name, ""): Series((1,), (value,)) for name, value in (accuracies or {}).items()}
    return {"train": StepData(Metrics(series))}


def evidence(record: Record, images: int = 140) -> Evidence:
    """Return everything that the page draws beside the record."""
    return Evidence(losses({"photo": [1.5, 0.5, 0.2]}), predictions(record, images), lines(record))


def many_classes(record: Record, count: int) -> Record:
    """Return the record with another number of classes."""
    names = [f"class {index:03}" for index in range(count)]
    rows = []
    for row in record["rows"]:
        targets = {
            name: {**metrics, "per_class_accuracy": [row["held_out"]] * count}
            for name, metrics in row["targets"].items()
        }
        rows.append({**row, "targets": targets})
    return cast("Record", {**record, "classes": names, "rows": rows})


def of_sweep(
    record: Record,
    variant: str,
    held_out: str,
    seed: int,
    folder: Path,
    accuracy: Callable[[str, float], float] = lambda _, own: own,
    condition: str = "clean",
) -> FoundRun:
    """Return a finished run of a sweep.

    Args:
        record: What it is made of.
        variant: Its variant.
        held_out: Its held-out domain.
        seed: Its seed.
        folder: Where its record is written.
        accuracy: What its rows have, by their key and accuracy in the record.
        condition: What its data were like.
    """
    rows = []
    for row in record["rows"]:
        value = accuracy(row["key"], row["held_out"])
        targets = {held_out: {**row["targets"][record["held_out"]], "accuracy": value}}
        rows.append({**row, "held_out": value, "targets": targets})
    place = {"held_out": held_out, "targets": [held_out], "seed": seed, "condition": condition, "variant": variant}
    changed = cast("Record", {**record, **place, "rows": rows})
    directory = folder / f"{variant}-{held_out}-{condition}-{seed}".replace("/", "-")
    directory.mkdir(exist_ok=True)
    (directory / "record.json").write_text(json.dumps(changed))
    return FoundRun(directory, summary_of(changed))
