"""The columns of a table: one for each set of numbers, and averages over held-out domains or benchmarks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hamdg.report.tables.headings import Headings, Values
from hamdg.report.tables.means import Unit
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.model import Heading

AVERAGE = "average"


@dataclass(frozen=True)
class Column:
    """A column, or an average over several.

    Args:
        heading: Its head.
        values: What its numbers say; of an average, of each column that it is over.
        units: Which benchmarks and held-out domains it is over.
    """

    heading: Heading
    values: Sequence[Values]
    units: Collection[Unit]


def averaged_key(rows: Sequence[str], columns: Sequence[str]) -> str:
    """Return the key over whose values there are averages; empty for none."""
    return next((key for key in ("held_out", "benchmark") if key in (*rows, *columns)), "")


def columns_of(headings: Headings, keys: Sequence[str], averaged: str) -> list[Column]:
    """Return the columns, each average after those that it is over.

    Args:
        headings: The heads of the table's numbers.
        keys: What makes a column.
        averaged: The key over whose values there are averages; empty for none.
    """
    columns: list[Column] = []
    groups: dict[Values, list[Column]] = {}
    inside: dict[Values, list[Measured]] = {}
    for values, own in headings.of(keys).items():
        units = {(one.trial.benchmark, one.trial.held_out) for one in own}
        units = units or {("", value) for key, value in zip(keys, values, strict=True) if key == "held_out"}
        column = Column(headings.heading(values, keys, own), [values], units)
        group = tuple(value for key, value in zip(keys, values, strict=True) if key != averaged)
        groups.setdefault(group, []).append(column)
        inside.setdefault(group, []).extend(own)
    for group, members in groups.items():
        columns += members
        # Runs with several held-out domains at once are no part of the average over single ones.
        single = [one for one in members if not all("+" in domain for _, domain in one.units)] or members
        if averaged and len(single) > 1:
            rest = dict(zip([key for key in keys if key != averaged], group, strict=True))
            label = ", ".join([*([headings.label(rest, inside[group])] if rest else []), AVERAGE])
            units = {unit for one in single for unit in one.units}
            values_of = [values for one in single for values in one.values]
            columns.append(Column(Heading(rest, label, is_average=True), values_of, units))
    return columns
