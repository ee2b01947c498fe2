"""The result on the page: key figures, and every model of the table as a dot with a whisker on a zoomed axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.charts import Tick, number, padded_limits, ticks
from hamdg.report.table import TableRow, error_name, metric_name, percent, run_table, signed_points, start_label
from hamdg.runs.figures import Table as TableFigure
from hamdg.runs.figures import table
from hamdg.runs.record import PER_CLASS, Metrics, Record, known, read_before, steps_before
from hamdg.text import listed_in_words

# Metrics that the result table shows already, or that are not shares of images.
_SHOWN = ("images", *PER_CLASS.values())


@dataclass(frozen=True)
class Card:
    """A key figure."""

    name: str
    figure: str
    unit: str


@dataclass(frozen=True)
class Dot:
    """A row of the result: where its dot and its whisker lie on the axis, in per cent of its length."""

    row: TableRow
    at: float
    low: float
    high: float
    starts_group: bool


@dataclass(frozen=True)
class Result:
    """The result table.

    Args:
        dots: Its rows.
        ticks: Of the axis, in per cent of its length.
        start: Where the start model lies on it; `None` without one.
        axis: What the axis is, in words.
        lead: What the figures are.
    """

    dots: Sequence[Dot]
    ticks: Sequence[Tick]
    start: float | None
    axis: str
    lead: str


def cards(record: Record) -> list[Card]:
    """Return the key figures."""
    rows = run_table(record)
    own = rows[-1]
    found = [Card(f"on {targets(record)}", percent(own.held_out), f" ± {percent(own.standard_error)} %")]
    if own.gain is not None:
        found.append(Card(f"over {start_label(record)}", signed_points(own.gain), " points"))
    rival = next((row for row in rows if row.key in record["controls"][-1:]), None)
    if rival is not None:
        found.append(Card(f"against {rival.label}", signed_points(own.held_out - rival.held_out), " points"))
    if (validation := record["validation_accuracy"]) is not None and known(validation):
        found.append(Card("source validation", percent(validation), " %"))
    return found


def what_was_read(record: Record) -> str:
    """Return in words on which images the model is tested, and which steps had read some of them before."""
    name, steps = targets(record), record["steps"]
    tested = f"Tested on {record['n_held_out']:,} images of {name}"
    if earlier := list(read_before(record)):
        steps_named = f"{listed_in_words(earlier)} {'step' if len(earlier) == 1 else 'steps'}"
        said = f"{tested}. The {steps_named} read images of {'it' if len(record['targets']) == 1 else 'them'}"
        if any("targets" in steps[one]["reads"] for one in earlier):
            return f"{said} before, without their labels: this is test-time adaptation, not domain generalization."
        return f"{said} before: this is not domain generalization."
    if all(step["opened"] is not None for step in steps_before(record).values()):
        return f"{tested}, none of which was read before the evaluation."
    return f"{tested}."


def result(record: Record) -> Result:
    """Return the result table on an axis that is only as long as the figures need."""
    rows = run_table(record)
    low, high = _axis(rows)

    def at(value: float) -> float:
        return 100.0 * min(max((100.0 * value - low) / (high - low), 0.0), 1.0)

    groups = [None, *(row.group for row in rows[:-1])]
    dots = [
        Dot(
            row,
            at(row.held_out),
            at(row.held_out - row.standard_error),
            at(row.held_out + row.standard_error),
            before not in (None, row.group),
        )
        for row, before in zip(rows, groups, strict=True)
    ]
    start = record["zero_shot_accuracy"]
    axis = f"{number(low)} to {number(high)} %"
    words = f"{metric_name(record['metric'])}, {axis}"
    return Result(
        dots,
        [Tick(100.0 * (value - low) / (high - low), number(value)) for value in ticks(low, high)],
        None if start is None else at(start),
        words,
        _lead(record, axis, zoomed=(low, high) != (0.0, 100.0)),
    )


def targets(record: Record) -> str:
    """Return the held-out domains in words."""
    return listed_in_words(record["targets"])


def other_metrics(record: Record) -> list[TableFigure]:
    """Return what else was measured of every model, one table a target; nothing where it is the table's own columns."""
    found = []
    for target in record["targets"]:
        measured = [row["targets"].get(target, {}) for row in record["rows"]]
        names = [name for name in dict.fromkeys(name for one in measured for name in one) if name not in _SHOWN]
        if len(record["targets"]) == 1:
            names = [name for name in names if name not in (record["metric"], f"{record['metric']}_in80")]
        if names:
            rows = [
                [row.label, *(_share(one, name) for name in names)]
                for row, one in zip(run_table(record), measured, strict=True)
            ]
            title = f"Other metrics on {target}, %"
            found.append(table(title, ["model", *(_in_words(name) for name in names)], rows))
    return found


def _share(metrics: Metrics, name: str) -> str:
    value = metrics.get(name)
    return percent(None if isinstance(value, list) else value)


def _in_words(name: str) -> str:
    words = {"in80": "80 % part", "in20": "20 % part"}
    kind, _, part = name.rpartition("_")
    return f"{metric_name(kind)}, {words[part]}" if part in words else metric_name(name)


def _axis(rows: Sequence[TableRow]) -> tuple[float, float]:
    """Return the ends of the axis in per cent: round numbers around all whiskers."""
    ends = [
        100.0 * value
        for row in rows
        for value in (row.held_out - row.standard_error, row.held_out, row.held_out + row.standard_error)
        if known(value)
    ]
    low, high = padded_limits(ends, 8) if ends else (0.0, 100.0)
    return max(low, 0.0), min(max(high, low + 1.0), 100.0) if low < 100.0 else 100.0


def _lead(record: Record, axis: str, zoomed: bool) -> str:
    name = metric_name(record["metric"])
    name = name.capitalize() if name.islower() else name
    whole = {
        "all": f"all {record['n_held_out']:,} images",
        "80%": "the 80 % part of the images",
        "20%": "the 20 % part of the images, which no step has read,",
    }[record["part"]]
    kind = "harmonic mean" if record.get("average") == "harmonic" else "mean"
    mean = f"{kind} over the domains, " if len(record["targets"]) > 1 else ""
    parts = [
        f"{name} on {whole} of {targets(record)}, {mean}in per cent. The whisker is one "
        f"{error_name(record['metric'])} standard error of "
        "this test set to either side; it does not hold the spread between seeds."
    ]
    if zoomed:
        parts.append(f"The axis shows {axis} only, not 0 to 100: differences look larger than they are.")
    if record["zero_shot_accuracy"] is not None:
        parts.append(f"The dashed line is {start_label(record)}.")
    if known(record["validation_accuracy"]):
        parts.append("Validation is on the sources' own hold-out sets.")
    return " ".join(parts)
