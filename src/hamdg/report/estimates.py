"""Means over seeds with their errors, and paired differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

# `sample`: standard deviation with n - 1, over the square root of n; `population`: with n, as DomainBed has it.
ErrorKind = Literal["sample", "population"]
Key = TypeVar("Key", bound=Hashable)

# Two-sided: of intervals, and of the test that tells what is tied with the best.
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: The mean.
        standard_error: Standard deviation over the square root of n; `None` for a single seed.
        n: Number of seeds.
    """

    mean: float
    standard_error: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean of paired differences.

    Args:
        mean: The mean.
        low: Lower end of its 95 % interval (Student's t with n - 1 degrees of freedom); `None` for a single pair.
        high: Upper end.
        n: Number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def estimate(values: Sequence[float], kind: ErrorKind = "sample") -> Estimate:
    """Return mean, standard error and count of at least one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Estimate(mean, math.sqrt(squares / (n - 1 if kind == "sample" else n) / n), n)


def paired_difference(values: Mapping[Key, float], others: Mapping[Key, float]) -> Difference | None:
    """Return the mean of `values - others` over the keys that both have, and its interval; `None` without any."""
    pairs = [values[key] - others[key] for key in values if key in others]
    if not pairs:
        return None
    found = estimate(pairs)
    if found.standard_error is None:
        return Difference(found.mean, None, None, 1)
    half = _quantile(found.n - 1) * found.standard_error
    return Difference(found.mean, found.mean - half, found.mean + half, found.n)


def differ(values: Mapping[Key, float], others: Mapping[Key, float]) -> bool | None:
    """Return whether two means differ at the level of 5 %, two-sided; `None` where the numbers are too few to tell.

    With two common keys or more by the paired t-test over these, with fewer by Welch's test.

    Args:
        values: Numbers by what they are paired by.
        others: Those that they are compared with.
    """
    pairs = paired_difference(values, others)
    if pairs is not None and pairs.low is not None and pairs.high is not None:
        return not pairs.low <= 0.0 <= pairs.high
    if min(len(values), len(others)) < 2:
        return None
    first, second = estimate(list(values.values())), estimate(list(others.values()))
    parts = [(one.standard_error or 0.0) ** 2 for one in (first, second)]
    distance, variance = abs(first.mean - second.mean), math.fsum(parts)
    if variance == 0.0:
        return distance > 0.0
    freedom = variance**2 / math.fsum(part**2 / (one.n - 1) for part, one in zip(parts, (first, second), strict=True))
    return distance > _quantile(freedom) * math.sqrt(variance)


def _quantile(freedom: float) -> float:
    """Return how many standard errors an interval reaches to either side."""
    # Not all of `scipy.stats`, which takes as long to import as a table of 5,000 runs.
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(freedom, 0.5 + LEVEL / 2.0))
