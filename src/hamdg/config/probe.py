"""How a linear probe is fitted: multinomial logistic regression on frozen features, at several strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hamdg.values import Filled, Range, Words

# Twenty values in equal ratios over the range that LP-FT searches with a hundred.
_POINTS, _LOWEST, _DECADES = 20, -7, 9

Strength = Annotated[float, Range(0, above=True)]


@dataclass(frozen=True)
class ProbeConfig:
    """How a linear classifier of frozen features is fitted.

    Args:
        standardize: Divide features by the deviation of all their values and shift them by their mean, one number each,
            before the fit, as LP-FT does; the classifier of the features as they are comes out.
        grid: The values of C that are tried, scikit-learn's weight of the losses against the penalty; the most accurate
            on the sources' hold-out sets is taken. `null` for 20 values from 1e-7 to 100 in equal ratios.
    """

    standardize: bool = True
    grid: Annotated[list[Strength], Filled(), Words("a list of numbers, such as `[0.01, 1, 100]`")] | None = None

    @property
    def strengths(self) -> list[float]:
        """The values of C from the smallest to the largest."""
        own = self.grid or [10 ** (_LOWEST + _DECADES * index / (_POINTS - 1)) for index in range(_POINTS)]
        return sorted({float(value) for value in own})
