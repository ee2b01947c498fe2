"""When a learning rate falls that waits for a loss to improve."""

from __future__ import annotations

import math
from collections.abc import Sequence

# By how much of itself the lowest loss has to fall for that to count: torch's default.
THRESHOLD = 1e-4


def drops(losses: Sequence[float], patience: int) -> list[int]:
    """Return after which losses (from 0) torch's `ReduceLROnPlateau` lowers the learning rate.

    Args:
        losses: The losses.
        patience: How many losses in a row may be no better than the lowest one before.
    """
    found: list[int] = []
    lowest, worse = math.inf, 0
    for number, loss in enumerate(losses):
        if loss < lowest * (1 - THRESHOLD):
            lowest, worse = loss, 0
        else:
            worse += 1
        if worse > patience:
            found.append(number)
            worse = 0
    return found
