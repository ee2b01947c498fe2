"""Accuracy by class: of every model in every class; with many classes, a selection of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.report.figures import Heat, heat
from hamdg.report.table import TableRow, percent, run_table, signed_points
from hamdg.runs.figures import Table, heat_map, table
from hamdg.runs.record import PER_CLASS, Record, known

# A heat map of more columns is searched, not read.
MOST_CLASSES = 30
_SHOWN = 8

Shares = Sequence[float | None]


@dataclass(frozen=True)
class ByClass:
    """The accuracies by class on one target.

    Args:
        target: The held-out domain.
        every: The heat map of all classes.
        tables: Of many classes: the hardest ones, and those with the largest differences to the main rival.
    """

    target: str
    every: Heat
    tables: Sequence[Table]


def by_class(record: Record) -> list[ByClass]:
    """Return the accuracy (or IoU) of every model in every class, by target; nothing where it was not measured."""
    rows = run_table(record)
    labels = distinct_labels(rows)
    found = []
    for target in record["targets"]:
        values = {
            label: shares
            for label, row in zip(labels, record["rows"], strict=True)
            if isinstance(shares := row["targets"].get(target, {}).get(PER_CLASS.get(record["metric"], "")), list)
        }
        title = f"On {target}" if len(record["targets"]) > 1 else ""
        drawn = heat(heat_map(title, record["classes"], values, percent=True), own=labels[-1])
        if drawn is not None:
            many = len(record["classes"]) > MOST_CLASSES and labels[-1] in values
            found.append(ByClass(target, drawn, _tables(record, rows, labels, values) if many else []))
    return found


def distinct_labels(rows: Sequence[TableRow]) -> list[str]:
    """Return the rows' labels, with their key where rows of several runs have one label."""
    every = [row.label for row in rows]
    return [row.label if every.count(row.label) == 1 else f"{row.label} ({row.key})" for row in rows]


def _tables(
    record: Record, rows: Sequence[TableRow], labels: Sequence[str], values: Mapping[str, Shares]
) -> list[Table]:
    own = values[labels[-1]]
    keys = [*record["controls"][-1:], "zero_shot"]
    others = [label for key in keys for row, label in zip(rows, labels, strict=True) if row.key == key]
    others = [label for label in others if label in values]
    shown = [labels[-1], *others]
    places = [place for place, share in enumerate(own) if known(share)]

    def line(place: int) -> list[str]:
        return [record["classes"][place], *(percent(values[label][place]) for label in shown)]

    hardest = sorted(places, key=lambda place: own[place] or 0.0)[:_SHOWN]
    found = [table(f"The {len(hardest)} hardest classes", ["class", *shown], [line(place) for place in hardest])]
    if others:
        rival = values[others[0]]
        gaps = {place: (own[place] or 0.0) - (rival[place] or 0.0) for place in places if known(rival[place])}
        order = sorted(gaps, key=lambda place: gaps[place])
        chosen = [*reversed(order[-_SHOWN // 2 :]), *reversed(order[: _SHOWN // 2])] if len(order) >= _SHOWN else order
        lines = [[*line(place), signed_points(gaps[place])] for place in chosen]
        found.append(table(f"Where it differs most from {others[0]}", ["class", *shown, "difference"], lines))
    return found
