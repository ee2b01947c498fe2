"""Records of format 1, from when HAM and pooled training were all that there was, and their upgrade to format 2."""

from __future__ import annotations

import math
from typing import Literal, NotRequired, TypedDict

from hamdg.runs.figures import Figure, direction_figures
from hamdg.runs.merge_figures import MergeFacts, layers_of, merge_figures
from hamdg.runs.selection import SelectionCounts, selection_figures

FORMAT = 1

_HAM = "HAM (reconstruction)"
_FOOTNOTE = (
    f"{_HAM}: enrichment (SAE) follows the published rule; harmonization (OPA) and the historical merge (RHM) are our "
    "reconstruction."
)
_OTHER_MERGE = (
    f"{_HAM}: enrichment (SAE) follows the published rule; harmonization (OPA) is our reconstruction; the histories "
    "were merged by {} in place of HAM's historical merge (RHM)."
)
_ENRICHMENT = (
    "At each step a model is offered the other sources' batches and accepts what it is more confident about than it "
    "is, on average, about its own batch."
)


class Row(TypedDict):
    """One model measured on the held-out domain."""

    key: str
    label: str
    group: Literal["control", "source", "merged"]
    held_out: float
    held_out_in80: float
    held_out_macro: float
    standard_error: NotRequired[float | None]
    per_class: list[float | None]
    validation: float | None
    note: str


class _ImagesSeen(TypedDict):
    fresh: int
    with_enrichment: int


class Record(TypedDict):
    """One finished run; `opened` names the domains whose images each step opened."""

    format: int
    benchmark: str
    held_out: str
    algorithm: str
    label: str
    seed: int
    identity: str
    held_out_accuracy: float
    held_out_accuracy_in80: float
    zero_shot_accuracy: float
    source_accuracies: dict[str, float]
    validation_accuracy: float
    classes: list[str]
    domains: list[str]
    sources: list[str]
    prompts: list[str]
    rows: list[Row]
    enrichment: dict[str, SelectionCounts] | None
    merge: MergeFacts | None
    images_seen: _ImagesSeen
    n_held_out: int
    timings: dict[str, float]
    data_digest: str
    versions: dict[str, str]
    command: str
    config: dict[str, object]
    words: NotRequired[list[str]]
    class_features: NotRequired[dict[str, str]]
    splits: NotRequired[dict[str, dict[str, int | str]]]
    data: NotRequired[dict[str, object]]
    opened: NotRequired[dict[str, list[str]]]
    files: NotRequired[dict[str, str]]
    condition: NotRequired[str]
    variant: NotRequired[str]


def upgrade(record: Record) -> dict[str, object]:
    """Return a record of format 1 as one of format 2."""
    dropped = ("enrichment", "merge", "opened")
    rows = [_row(row, record) for row in record["rows"]]
    return {key: value for key, value in record.items() if key not in dropped} | {
        "format": 2,
        "label": _ham_label(record["label"]),
        "footnote": _footnote(record),
        "targets": [record["held_out"]],
        "metric": "accuracy",
        "part": "all",
        "layers": [] if record["merge"] is None else layers_of(record["merge"]),
        "rows": rows,
        "controls": [row["key"] for row in rows[:-1] if row["key"] in ("erm", "erm_sma")],
        "steps": _steps(record),
        "images_seen": record["images_seen"]["fresh"],
    }


def _row(row: Row, record: Record) -> dict[str, object]:
    accuracy, images = row["held_out"], record["n_held_out"]
    error = row.get("standard_error")
    if error is None:
        error = math.sqrt(accuracy * (1 - accuracy) / images) if images else math.nan
    metrics = {
        "accuracy": accuracy,
        "accuracy_in80": row["held_out_in80"],
        "macro_accuracy": row["held_out_macro"],
        "per_class_accuracy": row["per_class"],
        "images": images,
    }
    return {
        "key": row["key"],
        "label": _ham_label(row["label"]) if row["key"] == "ham" else row["label"],
        "group": row["group"],
        "held_out": accuracy,
        "held_out_in80": row["held_out_in80"],
        "standard_error": error,
        "validation": row["validation"],
        "note": row["note"],
        "targets": {record["held_out"]: metrics},
    }


def _ham_label(label: str) -> str:
    """Return a label in which HAM is called what it is here: a reconstruction."""
    if "reconstruction" in label.lower() or label[:3].lower() != "ham" or label[3:4].isalnum():
        return label
    return _HAM + label[3:]


def _footnote(record: Record) -> str:
    if record["algorithm"] != "ham":
        return ""
    merge = record["merge"]
    method = "rhm" if merge is None else merge.get("method", "rhm")
    return _FOOTNOTE if method == "rhm" else _OTHER_MERGE.format(method)


def _steps(record: Record) -> dict[str, object]:
    train: dict[str, object] = {}
    figures: list[Figure] = direction_figures() if record["algorithm"] == "ham" else []
    if (counts := record["enrichment"]) is not None:
        train["selection"] = counts
        seen = f"With the accepted images the models saw {record['images_seen']['with_enrichment']:,} images."
        figures[:0] = selection_figures(counts, "enrichment", note=f"{_ENRICHMENT} {seen}", samples="samples.npz")
    steps: dict[str, object] = {
        "train": _step("train", record, train, figures, record["images_seen"]["fresh"]),
    }
    if (merge := record["merge"]) is not None:
        steps["merge"] = _step("merge", record, {"merge": merge}, merge_figures(merge))
    return steps


def _step(
    name: str, record: Record, facts: dict[str, object], figures: list[Figure], images_seen: int = 0
) -> dict[str, object]:
    merge = record["merge"]
    peeked = name == "merge" and merge is not None and merge.get("target_data", False)
    return {
        "reads": ["sources", "targets"] if peeked else ["sources"],
        "opened": record.get("opened", {}).get(name),
        "facts": facts,
        "figures": figures,
        "seconds": record["timings"].get(name, 0.0),
        "images_seen": images_seen,
    }
