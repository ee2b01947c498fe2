"""How much better the result of a run is than another row of its table, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.runs.averages import Average, slopes
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
    targets = [] if predictions is None else [one for one in predictions.targets.values() if len(one.labels)]
    keys = {own["key"], other["key"]}
    if record["part"] == "all" and targets and all(keys <= one.predicted.keys() for one in targets):
        error = _paired_error(targets, own["key"], other["key"], record.get("average", "arithmetic"))
        return Gap(value, error, paired=True)
    return Gap(value, math.hypot(own["standard_error"], other["standard_error"]), paired=False)


def _paired_error(targets: Sequence[TargetPredictions], key: str, other: str, kind: Average) -> float:
    """Return the standard error of the difference of two models' means over the targets, to first order.

    On each target it is that of the mean, over the images, of what the first model's answers add to its mean less what
    the second's add to its own.
    """
    first, second = ([one.predicted[name] == one.labels for one in targets] for name in (key, other))
    own, its = (slopes([float(right.mean()) for right in rights], kind) for rights in (first, second))
    gains = [up * one - down * two for up, one, down, two in zip(own, first, its, second, strict=True)]
    return math.hypot(*(float(gain.std()) / math.sqrt(len(gain)) for gain in gains))
