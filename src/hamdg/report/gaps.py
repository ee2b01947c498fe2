"""How much better the result of a run is than another row of its table, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hamdg.runs.predictions import Predictions, TargetPredictions
from hamdg.runs.record import Record, Row, known

# Chance alone stays within two standard errors in 95 % of cases.
ERRORS = 2.0


@dataclass(frozen=True)
class Gap:
    """How much better the result is than another row, and the standard error of that, as fractions of 1."""

    value: float
    error: float
    paired: bool

    @property
    def is_clear(self) -> bool:
        """Whether it is more than chance can explain."""
        return abs(self.value) > ERRORS * self.error


def gap_to(record: Record, predictions: Predictions | None, other: Row | None) -> Gap | None:
    """Return how much better the result is than another row of its table; `None` where either is not known.

    Args:
        record: The run.
        predictions: Its predictions, by which the two are compared image by image.
        other: The row; `None` where there is none.
    """
    own = record["rows"][-1]
    if other is None or not known(own["held_out"]) or not known(other["held_out"]):
        return None
    value = own["held_out"] - other["held_out"]
    targets = [] if predictions is None else list(predictions.targets.values())
    keys = {own["key"], other["key"]}
    if record["part"] == "all" and targets and all(keys <= one.predicted.keys() for one in targets):
        variance = sum(_paired_variance(one, own["key"], other["key"]) for one in targets) / len(targets) ** 2
        return Gap(value, math.sqrt(variance), paired=True)
    return Gap(value, math.hypot(own["standard_error"], other["standard_error"]), paired=False)


def _paired_variance(target: TargetPredictions, key: str, other: str) -> float:
    """Return the variance of the mean of +1 (only the first is right), -1 (only the second) and 0 over the images."""
    first, second = (target.predicted[one] == target.labels for one in (key, other))
    gains = first.astype(float) - second
    return float(gains.var() / len(gains)) if len(gains) else 0.0
