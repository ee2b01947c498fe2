"""The learning rate's course, of fine-tuning as of pretraining."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping


def warm_cosine(step: int, warmup: int, steps: int) -> float:
    """Return the learning rate's factor at `step` (from 0): linear warm-up, then half a cosine down to 0, and 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def warm_constant(step: int, warmup: int, steps: int) -> float:
    """Return the learning rate's factor at `step` (from 0): linear warm-up, then 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


SCHEDULES: Mapping[str, Callable[..., float]] = {"cosine": warm_cosine, "constant": warm_constant}
