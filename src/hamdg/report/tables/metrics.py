"""What the numbers of a table can be, and where a record holds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from hamdg.errors import ConfigError
from hamdg.report.table import metric_name
from hamdg.report.tables.model import Metric
from hamdg.runs.averages import Average, average
from hamdg.runs.record import PART_SUFFIX, Metrics, Row, known
from hamdg.runs.summary import Summary
from hamdg.text import did_you_mean, excerpt, listed

VALIDATION = "validation"
# What leave-one-domain-out cross-validation chooses by.
LEAVE_ONE_OUT = "leave_one_out"
# Of a whole run, whichever of its models is shown.
_OF_RUNS = {
    "train_seconds": Metric("train_seconds", "seconds of training", is_share=False, higher_is_better=None),
    "images_seen": Metric("images_seen", "images seen in training", is_share=False, higher_is_better=None),
}
_NOT_SHOWN = ("images",)
_OF_CLASSES = {"per_class_accuracy": "accuracy of single classes", "per_class_IoU": "IoU of single classes"}
# What is added to the name of a metric that is of a part of the target.
_PARTS = {"_in80": "the 80 % part of the held-out domain", "_in20": "the 20 % part of the held-out domain"}
_LOWER = ("calibration_error", "loss", "error")


def find_metric(name: str | None, summaries: Iterable[Summary]) -> Metric:
    """Return the metric of a name.

    Args:
        name: The name; `None` for the primary metric, on the images that no step of a run has read.
        summaries: The runs that are to have it.

    Raises:
        ConfigError: No run has it; the message names the nearest.
    """
    names: dict[str, None] = {}
    unseen = ""
    for summary in summaries:
        names[summary.metric] = None
        unseen = unseen or PART_SUFFIX[summary.part]
        for metrics in summary.result["targets"].values():
            names |= dict.fromkeys(metrics)
    choices = [one for one in names if one not in _NOT_SHOWN] + [VALIDATION, LEAVE_ONE_OUT, *_OF_RUNS]
    if name is None:
        name = f"{choices[0]}{unseen}"
    if name not in choices:
        hint = did_you_mean(name, choices, f"there are {listed(choices)}.")
        raise ConfigError(f"No run has a metric `{excerpt(name)}`; {hint}")
    return _OF_RUNS.get(name) or Metric(name, _label(name), higher_is_better=not name.startswith(_LOWER))


def part_of(metric: Metric) -> str:
    """Return a phrase on what a metric is measured on; empty if it is of the whole run."""
    if is_of_training(metric):
        return ""
    if metric.name == VALIDATION:
        return "the hold-out sets of the source domains"
    if metric.name == LEAVE_ONE_OUT:
        return "the 80 % part of each source domain, by runs that trained on neither it nor the held-out domain"
    ends = [part for end, part in _PARTS.items() if metric.name.endswith(end)]
    return ends[0] if ends else "the whole held-out domain"


def value_of(
    summary: Summary, rows: Sequence[Row], metric: Metric, number: int | None = None, target: str | None = None
) -> float | None:
    """Return what a metric says of a model, as the mean over several rows or targets; `None` where it is unknown.

    Args:
        summary: The run.
        rows: The model's row, or several for their mean.
        metric: The metric.
        number: Of a metric of single classes, the class.
        target: The held-out domain; `None` for the mean over all of them.
    """
    if metric.name == "train_seconds":
        seconds = summary.train_seconds
        return seconds if known(seconds) else None
    if metric.name == "images_seen":
        return float(summary.images_seen)
    kind = summary.average if metric.name.startswith(summary.metric) else "arithmetic"
    found = [_of_row(row, metric.name, number, target, kind) for row in rows]
    values = [value for value in found if value is not None and known(value)]
    return math.fsum(values) / len(values) if values and len(values) == len(found) else None


def _of_row(row: Row, name: str, number: int | None, target: str | None, kind: Average) -> float | None:
    if name == VALIDATION:
        return row["validation"]
    own = [metrics for domain, metrics in row["targets"].items() if target in (None, domain)]
    values = [value for metrics in own if (value := _single(metrics, name, number)) is not None]
    return average(values, kind) if values else None


def _single(metrics: Metrics, name: str, number: int | None) -> float | None:
    value = metrics.get(name)
    if isinstance(value, list):
        value = value[number] if number is not None and number < len(value) else None
    return value if value is not None and known(value) else None


def is_of_training(metric: Metric) -> bool:
    """Return whether a metric is of a whole run, whichever of its models is shown; the start model has none."""
    return metric.name in _OF_RUNS


def is_per_class(metric: Metric, targets: Mapping[str, Metrics]) -> bool:
    """Return whether a metric has one value a class."""
    return any(isinstance(metrics.get(metric.name), list) for metrics in targets.values())


def _label(name: str) -> str:
    for end in _PARTS:
        name = name.removesuffix(end)
    words = {**_OF_CLASSES, VALIDATION: "source validation", LEAVE_ONE_OUT: "leave-one-domain-out score"}
    return words.get(name, metric_name(name))
