"""Means over benchmarks and held-out domains within each seed, and then over seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from hamdg.report.tables.model import Trial

# A benchmark and one of its held-out domains.
Unit = tuple[str, str]


def seed_means(values: Mapping[Trial, float], units: Collection[Unit]) -> dict[int, float]:
    """Return each seed's mean, for the seeds that have all units: over held-out domains, then over benchmarks.

    Args:
        values: Single numbers.
        units: What a seed needs to have.
    """
    benchmarks: dict[str, list[str]] = {}
    for benchmark, held_out in sorted(units):
        benchmarks.setdefault(benchmark, []).append(held_out)
    return {
        seed: _mean(
            [_mean([values[Trial(name, one, seed)] for one in domains]) for name, domains in benchmarks.items()]
        )
        for seed in sorted({trial.seed for trial in values})
        if all(Trial(*unit, seed) in values for unit in units)
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
