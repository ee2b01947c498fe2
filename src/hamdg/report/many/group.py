"""All that the page shows of one table: the runs of a benchmark under one condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.many.costs import CostPart, cost_part
from hamdg.report.many.differences import Differences, comparison_place, differences
from hamdg.report.many.effects import Change, effects
from hamdg.report.many.headline import Headline, headline
from hamdg.report.many.words import against_baseline, answer, gaps
from hamdg.report.tables.model import Table
from hamdg.report.tables.wording import legend
from hamdg.text import capitalized

_INTERVAL = (
    "Means of paired differences (same held-out domains, same seed) with their 95 % intervals (Student's t). What has "
    "0 in its interval is not distinguishable."
)


@dataclass(frozen=True)
class EffectsPart:
    """The effects of single keys on one reference, with the caption of their table."""

    drawn: Differences
    changes: Sequence[Change]
    caption: str


@dataclass(frozen=True)
class Group:
    """A table as the page shows it.

    Args:
        id: Its address on the page.
        name: What sets it apart from the page's other tables.
        table: The table.
        answer: Which method is best, in words.
        further: How the others compare with the baseline, in words.
        gaps: How many numbers are missing, in words; empty for none.
        headline: The headline table.
        differences: Differences to the baseline; `None` without one.
        against: What these are, in words.
        difference_caption: How they are to be read.
        effects: Effects of single keys, by reference.
        cost: Cost against accuracy; `None` where fewer than two methods have a cost.
    """

    id: str
    name: str
    table: Table
    answer: str
    further: str
    gaps: str
    headline: Headline
    differences: Differences | None
    against: str
    difference_caption: str
    effects: Sequence[EffectsPart]
    cost: CostPart | None

    @property
    def heading(self) -> str:
        """The heading of the headline table."""
        return capitalized(self.table.metric.label)

    @property
    def legend(self) -> str:
        """What the table's marks mean, and by which test."""
        return legend(self.table, "\N{BLACK CIRCLE}", "\N{WHITE CIRCLE}")

    @property
    def unit(self) -> str:
        """What stands behind the name of an axis, such as `, %`."""
        return ", %" if self.table.metric.is_share else ""

    @property
    def marks(self) -> set[str]:
        """The marks that numbers have: `best`, `tied`."""
        return {number.mark for line in self.headline.lines for number in line.numbers if number.mark}

    @property
    def has_spread(self) -> bool:
        """Whether a number has an error."""
        return any(number.error for line in self.headline.lines for number in line.numbers)

    @property
    def has_cut(self) -> bool:
        """Whether a number lies below its axis."""
        return any(one.is_below for line in self.headline.lines for one in (line.strip, *line.strips))


def group(table: Table, number: int) -> Group:
    """Return what the page shows of a table.

    Args:
        table: The table.
        number: Its place among the page's tables.
    """
    unit = "points" if table.metric.is_share else table.metric.label
    return Group(
        id=f"group-{number}",
        name=_name(table),
        table=table,
        answer=answer(table),
        further=against_baseline(table),
        gaps=gaps(table),
        headline=headline(table),
        differences=differences(table),
        against=f"How much each method is above or below {table.baseline} {comparison_place(table)}, in {unit}.",
        difference_caption=_INTERVAL,
        effects=[
            EffectsPart(one.drawn, one.changes, f"Methods that differ from {one.reference} in one key. {_INTERVAL}")
            for one in effects(table)
        ],
        cost=cost_part(table),
    )


def _name(table: Table) -> str:
    """Return the benchmark and condition of a table."""
    return ", ".join(table.place[key] for key in ("benchmark", "condition") if key in table.place) or table.title
