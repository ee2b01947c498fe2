"""How alike source models are, as a column of a table: from 0.995 on there is nothing left to merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hamdg.report.tables.costs import Numbers
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.model import Cost, Heading
from hamdg.runs.merge_figures import BECOME_ONE, ONE, whole_cosines
from hamdg.runs.record import merge_facts, read_record
from hamdg.text import listed_in_words

EXPLAINED = (
    "The cosine is that of the changes of two source models since their common start, as the mean over pairs and runs; "
    "a dash stands for controls, and for models that are no merge of source models."
)


def source_cosine(one: Measured) -> float | None:
    """Return the mean cosine of a run's source models; `None` where the run did not make the model by merging some."""
    is_merge = one.rows[0]["group"] == "merged" and one.model not in one.run.summary.controls
    return _mean_cosine(one.run.path) if is_merge else None


def cosines_of(rows: Sequence[Numbers]) -> Cost:
    """Return the column of a table's rows.

    Args:
        rows: What the rows hold.
    """
    return Cost("source_cosine", "cosine of sources", [_mean(row) for row in rows], 3)


def note_of(heads: Sequence[Heading], column: Cost) -> list[str]:
    """Return a sentence on rows whose source models are one, if there are such."""
    equal = [head.label for head, value in zip(heads, column.values, strict=True) if value is not None and value >= ONE]
    if not equal:
        return []
    return [f"{BECOME_ONE} (cosine of at least {ONE}) in {listed_in_words(equal)}: there is nothing left to merge."]


def _mean(row: Numbers) -> float | None:
    found = [value for one in row.values() if (value := source_cosine(one)) is not None]
    return math.fsum(found) / len(found) if found else None


def _mean_cosine(path: Path) -> float | None:
    # Summaries, which all tables read, are without what steps found.
    record = read_record(path)
    facts = merge_facts(record)
    # What a soup merges are runs that learn from all sources.
    if facts is None or set(facts["norms"]) != set(record["sources"]):
        return None
    values = list(whole_cosines(facts).values())
    return math.fsum(values) / len(values) if values else None
