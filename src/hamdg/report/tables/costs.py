"""What a table's rows cost, beside its numbers: training, over that of the baseline, and passes for a test image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hamdg.report.tables.headings import Values
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.model import Cost, Trial
from hamdg.runs.record import EVALUATE, VALIDATE, known

# The numbers of a row, by what their columns say and the trials that they are of.
Numbers = Mapping[tuple[Values, Trial], Measured]
Measure = Callable[[Measured], float | None]


def training_time(one: Measured) -> float | None:
    """Return how many seconds the steps of the algorithm took, also those that another run made; `None` for none."""
    if not _was_trained(one):
        return None
    seconds = [step.seconds for name, step in one.run.summary.steps.items() if name not in (VALIDATE, EVALUATE)]
    return math.fsum(seconds) if seconds and all(map(known, seconds)) else None


def images_seen(one: Measured) -> float | None:
    """Return how many images the models of the run saw in their own batches; `None` where nothing was trained."""
    return float(one.run.summary.images_seen) if _was_trained(one) else None


def passes(one: Measured) -> float:
    """Return how many forward passes a test image costs; more than one with an ensemble."""
    return math.fsum(row.get("passes", 1) for row in one.rows) / len(one.rows)


def costs_of(rows: Sequence[Numbers], bases: Sequence[int | None], baseline: str) -> list[Cost]:
    """Return the costs of a table's rows; those of training are relative to the baseline's.

    Args:
        rows: What the rows hold.
        bases: The number of each row's baseline; `None` for none.
        baseline: What the baseline is called; empty for none, and for seconds and images as they are.
    """
    forward = [_mean(passes, numbers) for numbers in rows]
    shown = [value for value in forward if value is not None]
    last = Cost("forward_passes", "forward passes", forward, 0 if all(map(float.is_integer, shown)) else 1)
    if not baseline:
        seconds, images = ([_mean(of, numbers) for numbers in rows] for of in (training_time, images_seen))
        return [Cost("training_time", "time, s", seconds, 1), Cost("images_seen", "images", images, 0), last]
    times, shares = (
        [
            None if base is None else _relative(of, numbers, rows[base])
            for numbers, base in zip(rows, bases, strict=True)
        ]
        for of in (training_time, images_seen)
    )
    return [
        Cost("relative_training_time", f"time / {baseline}", times, 2),
        Cost("relative_images_seen", f"images / {baseline}", shares, 2),
        last,
    ]


def explained(rows: Sequence[Numbers], bases: Sequence[int | None], baseline: str) -> str:
    """Return how the costs of a table are to be read; the arguments are those of `costs_of`."""
    parts = "the seconds of all steps before the evaluation, and the images that models saw in their own batches"
    shared = "A step that several runs share counts for each. Times are of the machines that the runs ran on"
    forward = "Forward passes are those of one test image."
    if not baseline:
        return f"Costs of training: {parts}, as means over runs. {shared}. {forward}"
    first = {base for base in bases if base is not None}
    own = rows[min(first)] if len(first) == 1 else {}
    seconds, images = _mean(training_time, own), _mean(images_seen, own)
    amount = f" ({seconds:,.1f} s and {images:,.0f} images on average)" if seconds and images else ""
    return (
        f"Costs of training: {parts}, over those of {baseline}{amount} in runs of the same seed and held-out domain. "
        f"{shared}. {forward}"
    )


def _was_trained(one: Measured) -> bool:
    # The start is no run's own work, and controls come from other runs.
    return not one.is_start and one.model not in one.run.summary.controls


def _mean(of: Measure, numbers: Numbers) -> float | None:
    found = [value for one in numbers.values() if (value := of(one)) is not None]
    return math.fsum(found) / len(found) if found else None


def _relative(of: Measure, numbers: Numbers, base: Numbers) -> float | None:
    """Return a cost over the baseline's, both added up over the runs that have a partner."""
    pairs = [
        (own, other)
        for key, one in numbers.items()
        if (own := of(one)) is not None and key in base and (other := of(base[key])) is not None
    ]
    whole = math.fsum(other for _, other in pairs)
    return math.fsum(own for own, _ in pairs) / whole if whole > 0 else None
