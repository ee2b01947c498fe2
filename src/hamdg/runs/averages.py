"""The headline of several held-out domains: a mean of their metrics, and its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Average = Literal["arithmetic", "harmonic"]


def average(values: Sequence[float], kind: Average) -> float:
    """Return the mean of metrics between 0 and 1; the harmonic one of anything and 0 is 0.

    Args:
        values: One metric a domain, at least one.
        kind: Which mean.
    """
    if kind == "arithmetic":
        return sum(values) / len(values)
    return 0.0 if min(values) <= 0 else len(values) / math.fsum(1 / value for value in values)


def average_error(values: Sequence[float], counts: Sequence[float], kind: Average) -> float:
    """Return the binomial standard error of such a mean of accuracies.

    Args:
        values: The accuracies.
        counts: Of how many images each is.
        kind: Which mean.
    """
    errors = [math.sqrt(value * (1 - value) / count) for value, count in zip(values, counts, strict=True)]
    return combined_error(values, errors, kind)


def combined_error(values: Sequence[float], errors: Sequence[float], kind: Average) -> float:
    """Return the standard error of such a mean of metrics that have errors of their own.

    Args:
        values: The metrics.
        errors: Their standard errors.
        kind: Which mean.
    """
    return math.hypot(*(slope * error for slope, error in zip(slopes(values, kind), errors, strict=True)))


def slopes(values: Sequence[float], kind: Average) -> list[float]:
    """Return how much such a mean moves with each of its metrics, to first order.

    Args:
        values: The metrics.
        kind: Which mean.
    """
    if kind == "arithmetic":
        return [1 / len(values)] * len(values)
    mean = average(values, kind)
    # A metric p moves the harmonic mean H of M of them by H^2 / (M p^2) times its own change.
    return [mean**2 / (len(values) * value**2) if value > 0 else 0.0 for value in values]
