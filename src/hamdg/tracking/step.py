"""Which step of which run loggers follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hamdg.tracking.results import ConfigValue


@dataclass(frozen=True)
class TrackedStep:
    """What loggers know of a step before it begins.

    Args:
        name: The step's name: `train`, `merge`, `evaluate`, ...
        key: What identifies it for good: a step that is resumed or repeated has the same key.
        folder: The run's directory, which nothing is written outside of.
        folders: The directories of all runs beside it, as a shell's pattern.
        title: What people read.
        group: What the step's run is called.
        metrics: Its `metrics.csv`, for loggers that lack some of it after the step was stopped; `None` for none.
        config: What defines it, flat: `method`, `held_out`, `train.steps`, ...
        is_result: Whether it is the one whose numbers stand for the whole command.
    """

    name: str
    key: str
    folder: Path
    folders: str
    title: str
    group: str
    metrics: Path | None = None
    config: Mapping[str, ConfigValue] = field(default_factory=dict)
    is_result: bool = False
