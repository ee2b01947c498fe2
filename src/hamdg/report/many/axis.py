"""A value axis of a table's cells: ticks and positions in per cent of its width, so that it fits any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hamdg.report.charts import Tick, number, ticks

# How much longer than from its best value to one that a third is worse than an axis may be before the worst are cut.
_LONGEST = 1.6
# Of fewer values none is cut.
_FEW = 6
# About how many ticks an axis has, and how much longer than its values an axis is at either end.
_TICKS, _MARGIN = 4, 0.05


@dataclass(frozen=True)
class Axis:
    """An axis.

    Args:
        low: Its lower end.
        high: Its upper end.
        ticks: Round numbers on it, `at` in per cent of its length.
        is_cut: Whether some values lie below its lower end.
    """

    low: float
    high: float
    ticks: Sequence[Tick]
    is_cut: bool = False

    def at(self, value: float) -> float:
        """Return where a value lies, in per cent of the length; what lies beyond an end lies on it."""
        return 100.0 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def shows(self, value: float) -> bool:
        """Return whether a value lies on the axis."""
        return self.low - 1e-9 <= value <= self.high + 1e-9


def value_axis(values: Sequence[float], spreads: Sequence[float], may_cut: bool = True, highest: float = 100.0) -> Axis:
    """Return an axis for values.

    A few values far below all others would press the others together: the axis then ends above them.

    Args:
        values: What is compared, such as the methods' means; one at least.
        spreads: What else is drawn if it lies near, such as single seeds and the ends of whiskers.
        may_cut: Whether low values may be left out: where they are the bad ones.
        highest: What no value can be above, in per cent; infinite for what is no share.
    """
    ordered = sorted(values)
    best, low = ordered[-1], ordered[len(ordered) // 3]
    floor = best - _LONGEST * (best - low) if best > low else -math.inf
    kept = [value for value in ordered if value >= floor]
    # An axis that only one step of ticks would lengthen is not worth a cut.
    is_cut = (
        may_cut and len(ordered) >= _FEW and len(kept) < len(ordered) and best - ordered[0] > 1.5 * (best - kept[0])
    )
    lowest = kept[0] if is_cut else ordered[0]
    near = [value for value in spreads if value >= lowest - 0.5 * (best - lowest)] if is_cut else list(spreads)
    return _axis([lowest, best, *near], min(0.0, lowest), max(highest, best), is_cut)


def difference_axis(values: Sequence[float]) -> Axis:
    """Return an axis for differences, with zero on it.

    Args:
        values: All that is drawn, such as the ends of intervals; one at least.
    """
    return _axis([0.0, *values], -math.inf, math.inf, count=5)


def _axis(values: Sequence[float], lowest: float, highest: float, is_cut: bool = False, count: int = _TICKS) -> Axis:
    """Return an axis a little longer than its values need, within limits."""
    low, high = min(values), max(values)
    # What differs by rounding alone is drawn as a constant.
    spread = high - low if high - low > 1e-6 * max(abs(low), abs(high)) else 0.0
    margin = _MARGIN * spread or 1.0
    low, high = max(low - margin, lowest), min(high + margin, highest)
    drawn = [
        Tick(100.0 * (value - low) / (high - low), number(value), abs(value) < 1e-12)
        for value in ticks(low, high, count)
    ]
    return Axis(low, high, drawn, is_cut)
