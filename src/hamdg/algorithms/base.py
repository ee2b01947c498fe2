"""What an algorithm has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from hamdg.report.table import ZERO_SHOT
from hamdg.runs.record import RowGroup

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Histories:
    """What training left behind, and what the merge made of it; all are image tower parameters by name.

    Args:
        base: The pretrained parameters.
        last: Each model's parameters after its last step.
        history: Each model's historical parameters.
        merged: The run's own result.
        method: The merge method that it was made with.
        start: How tables call the model that training started from.
    """

    base: Weights
    last: Mapping[str, Weights]
    history: Mapping[str, Weights]
    merged: Weights
    method: str = "rhm"
    start: str = ZERO_SHOT


@dataclass(frozen=True)
class Entry:
    """One model of a run's table.

    Args:
        key: Stable name of the row.
        label: What people read.
        group: `control`, `source` or `merged`.
        weights: The image tower's parameters.
        note: What else a reader must know.
    """

    key: str
    label: str
    group: RowGroup
    weights: Weights
    note: str = ""


@dataclass(frozen=True)
class AlgorithmPlan:
    """How an algorithm composes the rooms.

    Args:
        label: How tables call it.
        result: Key of the row that is the run's own result.
        groups: From the source domains, the models to train: by name, the domains each learns from.
        candidates: From what training and merge left behind, the rows of the table (the result last).
        rows: From the source domains, the keys of these rows.
        merges: Whether the recipe's `merge` section applies; without it histories are averaged as they are.
        footnote: From the merge method, what every table with its result must say; empty for nothing.
    """

    label: str
    result: str
    groups: Callable[[tuple[str, ...]], dict[str, tuple[str, ...]]]
    candidates: Callable[[Histories], list[Entry]]
    rows: Callable[[tuple[str, ...]], tuple[str, ...]]
    merges: bool
    footnote: Callable[[str], str] = lambda method: ""
