"""HAM: one model per source domain, enriched, harmonized, and merged with its history (a reconstruction)."""

from __future__ import annotations

from hamdg.algorithms.base import AlgorithmPlan, Entry, Histories
from hamdg.algorithms.ham.labels import LABEL, footnote, result_label, scaled_label
from hamdg.merge import merge
from hamdg.merge.geometry import norms, task_vectors


def _candidates(found: Histories) -> list[Entry]:
    own_norm = norms(task_vectors({"merged": found.merged}, found.base))["merged"]
    shrunk = merge("shrunk", found.history, base=found.base, norm=own_norm)
    sources = [
        Entry(f"source/{name}", f"source model: {name}", "source", weights) for name, weights in found.last.items()
    ]
    return [
        Entry("zero_shot", found.start, "control", found.base),
        *sources,
        Entry("uniform_last", "uniform average, last models", "control", merge("uniform", found.last)),
        Entry("uniform_history", "uniform average, histories", "control", merge("uniform", found.history)),
        Entry("shrunk", scaled_label(found.method), "control", shrunk),
        Entry("ham", result_label(found.method), "merged", found.merged),
    ]


PLAN = AlgorithmPlan(
    label=LABEL,
    result="ham",
    groups=lambda sources: {name: (name,) for name in sources},
    candidates=_candidates,
    rows=lambda sources: (
        "zero_shot",
        *(f"source/{name}" for name in sources),
        "uniform_last",
        "uniform_history",
        "shrunk",
        "ham",
    ),
    merges=True,
    footnote=footnote,
)
