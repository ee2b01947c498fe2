"""Reliability diagrams as numbers, which templates draw: whether 80 % are right at a confidence of 80 %."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hamdg.report.table import MISSING, percent
from hamdg.runs.figures import Table, table
from hamdg.runs.predictions import TargetPredictions

BINS = 15
# Shares of fewer images jump about.
FEW = 10
# The drawing, in the units of its SVG.
WIDTH, LEFT, RIGHT, TOP, PLOT = 300.0, 34.0, 292.0, 10.0, 190.0
COUNTS_TOP, COUNTS = 216.0, 40.0


@dataclass(frozen=True)
class Bin:
    """The predictions of one range of confidences, `low <= confidence < high`; means are `None` without any."""

    low: float
    high: float
    images: int
    accuracy: float | None
    confidence: float | None


@dataclass(frozen=True)
class Bar:
    """A range of confidences as it is drawn.

    Args:
        x: Its left end.
        width: Its width.
        level: Where its accuracy lies.
        top: The upper end of the gap between accuracy and mean confidence.
        height: The gap's height.
        kind: `over` if the confidence is above the accuracy, else `under`; `few` is added where images are few.
        count_top: The upper end of the bar of its images.
        count_height: That bar's height.
        text: What it is, in words.
    """

    x: float
    width: float
    level: float
    top: float
    height: float
    kind: str
    count_top: float
    count_height: float
    text: str


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram of one model.

    Args:
        label: The model.
        is_own: Whether it is the run's result.
        error: The expected calibration error.
        lean: How far the mean confidence is above the accuracy.
        bars: What is drawn.
        most: The largest number of images in one range.
    """

    label: str
    is_own: bool
    error: float
    lean: float
    bars: Sequence[Bar]
    most: int


@dataclass(frozen=True)
class Calibration:
    """The diagrams of one target, and their numbers as a table."""

    target: str
    diagrams: Sequence[Reliability]
    numbers: Table


def confidence_bins(confidence: NDArray[np.float32], right: NDArray[np.bool_], count: int = BINS) -> list[Bin]:
    """Return ranges of equal width, each with what is in it; predictions without a finite confidence are in none.

    The ranges are torchmetrics', in single precision, but that a confidence of 1 is in the last one.
    """
    edges = np.linspace(0.0, 1.0, count + 1, dtype=np.float32)
    found = []
    for low, high in pairwise(edges.tolist()):
        inside = (confidence >= low) & ((confidence < high) | ((confidence == 1.0) & (high == 1.0)))
        images = int(inside.sum())
        accuracy = float(right[inside].mean()) if images else None
        found.append(Bin(low, high, images, accuracy, float(confidence[inside].mean(dtype=float)) if images else None))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap between accuracy and confidence, weighted by images."""
    images = sum(one.images for one in bins)
    return sum(one.images * abs(_gap(one)) for one in bins) / images if images else 0.0


def calibration(target: str, found: TargetPredictions, models: Mapping[str, str]) -> Calibration | None:
    """Return what the page shows of the calibration on one target; `None` where no confidence is a number.

    Args:
        target: Its name.
        found: What was predicted.
        models: The shown models, the result first: label by key of the row.
    """
    bins = {
        label: confidence_bins(found.confidence[key], found.predicted[key] == found.labels)
        for key, label in models.items()
    }
    own = next(iter(models.values()))
    bins = {label: one for label, one in bins.items() if any(part.images for part in one)}
    if not bins:
        return None
    diagrams = [_diagram(label, label == own, one) for label, one in bins.items()]
    return Calibration(target, diagrams, _numbers(bins))


def _diagram(label: str, is_own: bool, bins: Sequence[Bin]) -> Reliability:
    images, most = sum(one.images for one in bins), max(one.images for one in bins)
    lean = sum(one.images * _gap(one) for one in bins) / images
    bars = [_bar(one, most) for one in bins if one.images]
    return Reliability(label, is_own, calibration_error(bins), lean, bars, most)


def _gap(one: Bin) -> float:
    """Return how far the confidence of a range is above its accuracy."""
    return one.confidence - one.accuracy if one.confidence is not None and one.accuracy is not None else 0.0


def _bar(one: Bin, most: int) -> Bar:
    accuracy, confidence = one.accuracy or 0.0, one.confidence or 0.0
    left, right = (LEFT + share * (RIGHT - LEFT) for share in (one.low, one.high))
    level, mean = (TOP + (1 - share) * PLOT for share in (accuracy, confidence))
    height = COUNTS * one.images / most
    said = f"{one.images:,} images, {percent(one.accuracy)} % right"
    text = f"confidence {percent(one.low)} to {percent(one.high)} %: {said}"
    return Bar(
        left + 1,
        right - left - 2,
        level,
        min(level, mean),
        abs(level - mean),
        ("over" if confidence > accuracy else "under") + (" few" if one.images < FEW else ""),
        COUNTS_TOP + COUNTS - height,
        height,
        text,
    )


def _numbers(bins: Mapping[str, Sequence[Bin]]) -> Table:
    columns = ["confidence, %", *(f"{label}: {what}" for label in bins for what in ("images", "right, %"))]
    rows = []
    for row in zip(*bins.values(), strict=True):
        if any(one.images for one in row):
            cells = [
                text
                for one in row
                for text in (f"{one.images:,}", MISSING if one.accuracy is None else percent(one.accuracy))
            ]
            rows.append([f"{percent(row[0].low)} to {percent(row[0].high)}", *cells])
    return table("", columns, rows)
