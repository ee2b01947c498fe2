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
        further: What else its numbers say, in words.
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
    headline: Headline
    differences: Differences | None
    against: str
    difference_caption: str
    effects: Sequence[EffectsPart]
    cost: CostPart | None

    @property
    def heading(self) -> str:
        """The heading of the headline table."""
        label = self.table.metric.label
        return f"{label[:1].upper()}{label[1:]}"

    @property
    def unit(self) -> str:
        """What stands behind the name of an axis, such as `, %`."""
        return ", %" if self.table.metric.is_share else ""

    @property
    def has_marks(self) -> bool:
        """Whether a number is marked as best or tied."""
        return any(number.mark for line in self.headline.lines for number in line.numbers)

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
    return Group(
        id=f"group-{number}",
        name=_name(table),
        table=table,
        answer=answer(table),
        further=" ".join(text for text in (against_baseline(table), gaps(table)) if text),
        headline=headline(table),
        differences=differences(table),
        against=f"How much each method is above or below {table.baseline} {comparison_place(table)}, in points.",
        difference_caption=_INTERVAL,
        effects=[
            EffectsPart(one.drawn, one.changes, f"Methods that differ from {one.reference} in one key. {_INTERVAL}")
            for one in effects(table)
        ],
        cost=cost_part(table),
    )


def _name(table: Table) -> str:
    """Return the benchmarks and conditions of a table."""
    runs = [run.summary for row in table.cells for cell in row for run in cell.runs]
    names = [sorted({run.benchmark for run in runs}), sorted({run.condition for run in runs})]
    return ", ".join(name for own in names for name in own) or table.title
