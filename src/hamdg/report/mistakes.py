"""The most confident mistakes of a run's result, as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.samples import data_uri
from hamdg.runs.predictions import Predictions


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for another class.

    Args:
        source: The image itself, as a data URI.
        predicted: The class that it was taken for.
        true: The class that it is of.
        confidence: The model's confidence.
        target: The domain that it is from.
    """

    source: str
    predicted: str
    true: str
    confidence: float
    target: str


def mistakes(found: Predictions, key: str, classes: Sequence[str]) -> list[Mistake]:
    """Return the mistakes whose images were kept, in their order.

    Args:
        found: The run's predictions.
        key: The result's row.
        classes: Names of the classes.
    """
    return [
        Mistake(data_uri(one.image), classes[one.predicted], classes[one.true], one.confidence, one.target)
        for one in found.mistakes_of(key)
    ]


def wrong_count(found: Predictions, key: str) -> int:
    """Return how many predictions of a row are wrong."""
    return sum(int((one.predicted[key] != one.labels).sum()) for one in found.targets.values() if key in one.predicted)
