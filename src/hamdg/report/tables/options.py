"""What a table is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hamdg.report.estimates import ErrorKind

# `validation`: training-domain validation; `leave_one_out`: leave-one-domain-out cross-validation; `oracle`: by the
# target's own 20 % part.
Rule = Literal["validation", "leave_one_out", "oracle"]

# Models of a run, beside the keys of its rows: what it was made for; all of them; the mean of its source models.
RESULT, ALL, EVERY_SOURCE = "result", "all", "source/*"
# The key of a model within a run, that of one of its held-out domains (several may be held out at once) or their mean,
# and that of a class, which only metrics of single classes have.
MODEL, TARGET, CLASS = "model", "target", "class"
# What the methods of a sweep's own tables are told apart by; no key that can be asked for.
METHOD = "method"
# Keys that are not of a recipe, or that every run has.
OWN_KEYS = ("algorithm", "label", "variant", "benchmark", "held_out", "condition", "seed", MODEL, TARGET)


@dataclass(frozen=True)
class TableOptions:
    """What a table is asked for.

    Args:
        rows: What makes a row: `algorithm`, `label` (or `variant`), `held_out`, `seed`, `benchmark`, `condition`,
            `model`, `target`, or any dotted key of a recipe.
        columns: What makes a column; `None` for held-out domains, or classes where the metric is of single ones.
        metric: What is shown; `None` for the primary metric of the runs.
        models: Which models of each run are shown: `result`, `all`, or keys of its rows.
        where: What runs have to say, by key: one of these values.
        select: How to choose among runs that differ in hyper-parameters; `None` refuses such.
        baseline: Which row the others are compared with; empty for none.
        needs_baseline: Whether it is an error if no row is called so.
        error: Which standard error is shown.
        order: In which order values of a key come; those that are not named follow.
        costs: Whether there are columns of what training and inference cost.
        cosines: Whether there is a column of how alike the source models are that were merged.
    """

    rows: Sequence[str] = ("algorithm",)
    columns: Sequence[str] | None = None
    metric: str | None = None
    models: Sequence[str] = (RESULT,)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    select: Rule | None = None
    baseline: str = ""
    needs_baseline: bool = True
    error: ErrorKind = "sample"
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)
    costs: bool = False
    cosines: bool = False


@dataclass(frozen=True)
class Absent:
    """A run that could be in a table but has no readable record.

    Args:
        values: What is known of it, by key, as text.
        reason: Why it is not there, in words: "not finished", "failed: ...", "not begun".
        details: The file that says more, such as the traceback of a failed run; empty for none.
    """

    values: Mapping[str, str]
    reason: str
    details: str = ""
