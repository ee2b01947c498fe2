"""The headline of a row: its primary metric on what no step has read of the targets, its mean, and its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hamdg.data.module import target_positions
from hamdg.data.splits import Indices
from hamdg.runs.averages import Average, average, average_error, combined_error, slopes
from hamdg.runs.record import PART_SUFFIX, Metrics, Part
from hamdg.stages.context import Context

Targets = Mapping[str, Metrics]


class Headline(NamedTuple):
    """What a table shows of a row first; as in the record."""

    held_out: float
    held_out_in80: float
    standard_error: float


def part_of(context: Context) -> Part:
    """Return which part of the targets the headline is of: of those that a step has read, what it has not seen."""
    return "20%" if any("targets" in step.reads for step in context.algorithm.steps()) else "all"


def headline_images(context: Context, name: str, count: int) -> Indices:
    """Return the positions of the images that the headline is of, of a target that has so many."""
    inside, outside = target_positions(context.recipe, name, count)
    return {"all": np.arange(count), "80%": inside, "20%": outside}[part_of(context)]


def headline_of(context: Context, targets: Targets, errors: Sequence[float] = ()) -> Headline:
    """Return the headline of a row.

    Args:
        context: The run whose table the row is in.
        targets: The row's metrics on each target.
        errors: Their standard errors, where these are not binomial.
    """
    primary, kind = context.task.primary, context.recipe.evaluate.average
    own = values_on(targets, primary, part_of(context))
    counts = [len(headline_images(context, name, image_count(metrics))) for name, metrics in targets.items()]
    return Headline(
        average(own, kind),
        average(values_on(targets, primary, "80%"), kind),
        combined_error(own, errors, kind) if errors else average_error(own, counts, kind),
    )


def estimated_errors(context: Context, targets: Targets, error: float, part: Part, kind: Average) -> list[float]:
    """Return the standard error of a mean IoU on each target, from that of a mean over the targets.

    The jackknife's errors of single targets are in no record; here all targets have the same one, and of fewer images
    it is larger by the root of their share.

    Args:
        context: The run whose table the row is in.
        targets: The row's metrics on each target.
        error: The standard error of their mean.
        part: Of which part of the targets that is.
        kind: Which mean it is.
    """
    reach = math.hypot(*slopes(values_on(targets, context.task.primary, part), kind))
    one = error / reach if reach else 0.0
    counts = {name: image_count(metrics) for name, metrics in targets.items()}
    return [one * math.sqrt(count / len(headline_images(context, name, count))) for name, count in counts.items()]


def values_on(targets: Targets, metric: str, part: Part) -> list[float]:
    """Return a metric on a part of each target."""
    values = [metrics[f"{metric}{PART_SUFFIX[part]}"] for metrics in targets.values()]
    return [value for value in values if isinstance(value, float)]


def image_count(metrics: Metrics) -> int:
    """Return how many images a target has."""
    count = metrics["images"]
    assert isinstance(count, int | float), "every target has a number of images"
    return int(count)
