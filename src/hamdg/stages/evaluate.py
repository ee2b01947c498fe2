"""The evaluate stage: the first and only one that opens the held-out domain."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import Candidate
from hamdg.config import identity
from hamdg.data.mini import data_digest
from hamdg.data.module import open_domain, split_domain
from hamdg.files import read_json, write_json
from hamdg.runs.directory import RunDirectory
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.merge import load_candidates
from hamdg.stages.scoring import Scorer

Row = dict[str, object]


def evaluate(context: Context, command: str, control: RunDirectory | None) -> bool:
    """Test every model of the run on the held-out domain and write `record.json`.

    Args:
        context: The run, merged.
        command: The command that the record names.
        control: The evaluated ERM run whose rows join the table.

    Returns:
        Whether there was anything to do.
    """
    run = context.run
    if run.record.exists():
        return False
    started = time.monotonic()
    held_out = open_domain(context.recipe, context.recipe.held_out)
    opened = time.monotonic()
    validation = read_json(run.merge)["validation"]
    images = torch.from_numpy(np.array(held_out.images))
    labels = torch.from_numpy(held_out.clean_labels)
    inside = torch.from_numpy(split_domain(context.recipe, held_out)[0])
    scorer = Scorer(context)
    rows = [
        _row(context, candidate, scorer.predict(candidate.weights, images).cpu(), labels, inside)
        | {"validation": validation[candidate.key]}
        for candidate in load_candidates(context)
    ]
    if control is not None:
        known = {row["key"] for row in rows}
        theirs = [row for row in read_json(control.record)["rows"] if row["key"] not in known]
        rows[-1:-1] = theirs
    domains = [
        held_out if name == held_out.domain else open_domain(context.recipe, name) for name in context.bench.domains
    ]
    timings = {"render": opened - started, "evaluate": time.monotonic() - opened}
    write_json(run.record, _record(context, rows, timings, command) | {"data_digest": data_digest(domains)})
    return True


def _row(context: Context, candidate: Candidate, predicted: Tensor, labels: Tensor, inside: Tensor) -> Row:
    right = (predicted == labels).double()
    accuracy = float(right.mean())
    per_class = [float(right[labels == label].mean()) for label in range(len(context.bench.classes))]
    return {
        "key": candidate.key,
        "label": candidate.label,
        "group": candidate.group,
        "held_out": accuracy,
        "held_out_in80": float(right[inside].mean()),
        "held_out_macro": sum(per_class) / len(per_class),
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        "per_class": per_class,
        "n": len(labels),
        "note": candidate.note,
    }


def _record(context: Context, rows: list[Row], timings: dict[str, float], command: str) -> dict[str, object]:
    recipe, run = context.recipe, context.run
    trained, merged = read_json(run.train), read_json(run.merge)
    by_key = {str(row["key"]): row for row in rows}
    result = by_key[context.plan.result]
    timings = {"train": trained["seconds"], "merge": merged["seconds"], **timings}
    return {
        "format": 1,
        "benchmark": recipe.benchmark,
        "held_out": recipe.held_out,
        "algorithm": recipe.algorithm,
        "label": recipe.label or context.plan.label,
        "seed": recipe.seed,
        "identity": identity(recipe),
        "held_out_accuracy": result["held_out"],
        "held_out_accuracy_in80": result["held_out_in80"],
        "zero_shot_accuracy": by_key["zero_shot"]["held_out"],
        "source_accuracies": {key.removeprefix("source/"): r["held_out"] for key, r in by_key.items() if "/" in key},
        "validation_accuracy": result["validation"],
        "classes": list(context.bench.classes),
        "domains": list(context.bench.domains),
        "sources": list(context.sources),
        "prompts": recipe.model.prompts,
        "rows": rows,
        "enrichment": trained["enrichment"],
        "merge": {key: value for key, value in merged.items() if key not in ("validation", "seconds")},
        "images_seen": trained["images_seen"],
        "n_held_out": result["n"],
        "timings": timings | {"total": sum(timings.values())},
        "versions": library_versions(),
        "command": command,
        "config": asdict(recipe),
    }
