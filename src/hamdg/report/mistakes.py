"""The most confident mistakes of a run's result, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.samples import data_uri
from hamdg.runs.predictions import Predictions


@dataclass(frozen=True)
class Mistake:
    """A picture that was taken for another class.

    Args:
        source: The picture itself, as an inline image.
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
    """Return the mistakes that were kept as pictures, in their order.

    Args:
        found: The run's predictions.
        key: The result's row.
        classes: Names of the classes.
    """
    kept = found.mistakes
    if kept is None:
        return []
    shown = []
    for image, name, position in zip(kept.images, kept.targets, kept.positions.tolist(), strict=True):
        target = found.targets[name]
        if key in target.predicted:
            predicted, true = classes[target.predicted[key][position]], classes[target.labels[position]]
            shown.append(Mistake(data_uri(image), predicted, true, float(target.confidence[key][position]), name))
    return shown


def wrong_count(found: Predictions, key: str) -> int:
    """Return how many predictions of a row are wrong."""
    return sum(int((one.predicted[key] != one.labels).sum()) for one in found.targets.values() if key in one.predicted)
