"""A table over many runs as data: every format of `hamdg table`, and the page over many runs, is a function of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hamdg.report.collection import FoundRun
from hamdg.report.estimates import Difference, ErrorKind


class Trial(NamedTuple):
    """What runs are paired by: runs of two methods with the same trial were tested on the same images."""

    benchmark: str
    held_out: str
    seed: int


@dataclass(frozen=True)
class Metric:
    """What the numbers of a table are.

    Args:
        name: Its name on the command line: `accuracy`, `accuracy_in80`, `calibration_error`, ...
        label: What people read.
        is_share: Whether it is a fraction of 1, shown in per cent.
        higher_is_better: Whether the highest mean is the best; `None` where neither is, as for a time.
    """

    name: str
    label: str
    is_share: bool = True
    higher_is_better: bool | None = True


@dataclass(frozen=True)
class Heading:
    """The head of a row or column.

    Args:
        values: What all its runs have in common, by key (`algorithm`, `held_out`, `train.lr`, ...), as text.
        label: What people read.
        is_average: Whether it holds averages over the others, or the mean over domains that are held out at once.
        target_data: Whether a step of its runs opened the held-out domain before the evaluation.
        is_baseline: Whether the others are compared with it.
    """

    values: Mapping[str, str]
    label: str
    is_average: bool = False
    target_data: bool = False
    is_baseline: bool = False


@dataclass(frozen=True)
class Cell:
    """One number of a table, with all that stands behind it.

    Args:
        mean: Mean over seeds, of the mean over held-out domains in each; `None` where it is missing.
        standard_error: Of the mean, over seeds; `None` for a single seed.
        n: Number of seeds.
        values: The single numbers, one a run.
        values_by_seed: What the mean is taken of.
        is_best: Whether no other in its column (of the same benchmark and condition) is better.
        is_tied: Whether it does not differ from the best by the test that the table names.
        difference: To the table's baseline; `None` without one, for the baseline itself, and where nothing is paired.
        paired: Every trial's difference to the baseline.
        missing: Why there is no number; empty where there is one.
        incomplete: Which seeds are missing that others have, and why; empty for none.
        runs: The runs that it comes from.
        chosen: Of runs that differ in hyper-parameters, those of the chosen run, by its trial: `key=value, key=value`.
    """

    mean: float | None = None
    standard_error: float | None = None
    n: int = 0
    values: Mapping[Trial, float] = field(default_factory=dict)
    values_by_seed: Mapping[int, float] = field(default_factory=dict)
    is_best: bool = False
    is_tied: bool = False
    difference: Difference | None = None
    paired: Mapping[Trial, float] = field(default_factory=dict)
    missing: str = ""
    incomplete: str = ""
    runs: Sequence[FoundRun] = ()
    chosen: Mapping[Trial, str] = field(default_factory=dict)

    @property
    def is_of_benchmarks(self) -> bool:
        """Whether it is an average over several benchmarks, which count alike however many domains they have."""
        return len({trial.benchmark for trial in self.values}) > 1

    @property
    def pairs(self) -> Mapping[Trial, float]:
        """The numbers that it is compared by, of which it is the plain mean: single ones, or one a seed."""
        by_seed = {Trial("", "", seed): value for seed, value in self.values_by_seed.items()}
        return by_seed if self.is_of_benchmarks else self.values


@dataclass(frozen=True)
class Cost:
    """What the rows of a table cost in one respect: a column behind its numbers.

    Args:
        name: What it is, for programs: `training_time`, `images_seen`, `forward_passes`.
        label: What people read.
        values: One a row; `None` where it is unknown, or nothing was trained.
        digits: How many decimals people read.
    """

    name: str
    label: str
    values: Sequence[float | None]
    digits: int


@dataclass(frozen=True)
class Table:
    """A table of means over seeds.

    Args:
        title: Which benchmark, condition and metric it is of.
        metric: What its numbers are.
        row_keys: What makes a row.
        column_keys: What makes a column.
        rows: Heads of the rows.
        columns: Heads of the columns.
        cells: One a row and column, in their order.
        caption: How the numbers are to be read: estimators, test, part of the target, selection.
        notes: What every table with these rows must say, such as that a method is a reconstruction.
        problems: What is missing, left out or not the same in all rows, a sentence each.
        baseline: Label of the row that the others are compared with; empty for none.
        error: Which standard error it has.
        place: Benchmark and condition, where they make neither rows nor columns.
        costs: What its rows cost, and how alike their source models are, if that was asked for.
    """

    title: str
    metric: Metric
    row_keys: Sequence[str]
    column_keys: Sequence[str]
    rows: Sequence[Heading]
    columns: Sequence[Heading]
    cells: Sequence[Sequence[Cell]]
    caption: str
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
    baseline: str = ""
    error: ErrorKind = "sample"
    place: Mapping[str, str] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
