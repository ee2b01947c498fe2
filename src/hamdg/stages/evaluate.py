"""The evaluate stage: the one that opens the held-out domain, after a merge that may have asked for it by name."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import Entry
from hamdg.data.domain import Domain, combined_fingerprint, open_domain, opened_domains
from hamdg.data.listing import Listing
from hamdg.data.module import split_domain
from hamdg.data.resolve import prompts_of, words_of
from hamdg.data.subset import Subset
from hamdg.data.verify.card import card
from hamdg.errors import DataError
from hamdg.files import write_json
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity
from hamdg.runs.manifest import check_digests, digests
from hamdg.runs.record import MergeFacts, read_record
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.merge import check_merge, load_entries
from hamdg.stages.scoring import Scorer
from hamdg.stages.sources import same_images, split_facts
from hamdg.stages.summaries import read_merge, read_train

Row = dict[str, object]


def evaluate(context: Context, command: str, control: RunDirectory | None, again: bool = False) -> bool:
    """Test every model of the run on the held-out domain and write `record.json`.

    Args:
        context: The run, merged.
        command: The command that the record names.
        control: The evaluated ERM run whose rows join the table.
        again: Test them even if there is a record, which is replaced at the end.

    Returns:
        Whether there was anything to do.

    Raises:
        RunDirectoryError: If a file that an earlier stage wrote is missing or another.
        DataError: If the images are missing or damaged, or not those that the control was tested on.
    """
    run = context.run
    if run.record.exists() and not again:
        check_digests(run, read_record(run.record).get("files", {}), "the evaluation read")
        return False
    with opened_domains() as opened:
        record = _evaluated(context, command, control)
    run.unmark_done()
    write_json(run.record, record | {"opened": opened_before(run) | {"evaluate": sorted(opened)}})
    return True


def opened_before(run: RunDirectory) -> dict[str, list[str]]:
    """Return the domains whose images were opened by each stage before the evaluation, as far as it wrote that."""
    found = {"train": read_train(run).get("opened"), "merge": read_merge(run).get("opened")}
    return {stage: names for stage, names in found.items() if names is not None}


def _evaluated(context: Context, command: str, control: RunDirectory | None) -> dict[str, object]:
    """Test every model on the held-out domain and return what `record.json` is to hold."""
    run = context.run
    check_merge(run)
    started = time.monotonic()
    held_out = _opened(context, context.recipe.held_out)
    if control is not None:
        _check_control(context, control, held_out)
    everything = Subset(
        held_out.evaluation, np.arange(len(held_out.labels)), torch.from_numpy(np.array(held_out.clean_labels))
    )
    everything.prepare()
    opened = time.monotonic()
    validation = read_merge(run)["validation"]
    inside = torch.from_numpy(split_domain(context.recipe, held_out)[0])
    candidates = load_entries(context)
    predictions = Scorer(context).predict([candidate.weights for candidate in candidates], everything)
    rows = [
        _row(context, candidate, predicted, everything.labels, inside) | {"validation": validation[candidate.key]}
        for candidate, predicted in zip(candidates, predictions, strict=True)
    ]
    if control is not None:
        known = {row["key"] for row in rows}
        rows[-1:-1] = [dict(row) for row in read_record(control.record)["rows"] if row["key"] not in known]
    domains = [held_out if name == held_out.name else _opened(context, name) for name in context.bench.domains]
    timings = {"open": opened - started, "evaluate": time.monotonic() - opened}
    return _record(context, rows, timings, command) | _data(context, domains)


def _opened(context: Context, name: str) -> Domain:
    return open_domain(context.recipe, name, context.preprocess.side)


def _check_control(context: Context, control: RunDirectory, held_out: Domain) -> None:
    """Refuse a control whose rows are of other images: one table would hold both.

    Raises:
        DataError: If it was tested on others.
    """
    tested = read_record(control.record).get("splits", {}).get(held_out.name)
    if tested is None or not same_images(tested, split_facts(context.recipe, held_out, source=False)):
        raise DataError(
            f"The ERM control `{control.path}` was tested on other images of `{held_out.name}` than there are now; "
            f"test it again with `hamdg evaluate {control.path}`, or do without it with `--controls.erm=false`."
        )


def _data(context: Context, domains: list[Domain]) -> dict[str, object]:
    """Return what the record says of the images and their splits."""
    splits = {
        domain.name: split_facts(context.recipe, domain, source=domain.name in context.sources) for domain in domains
    }
    listings = {domain.name: domain.contents for domain in domains if isinstance(domain.contents, Listing)}
    found: dict[str, object] = {"data_digest": combined_fingerprint(domains), "splits": splits}
    fewer = {"subset": context.recipe.data.subset, "shots": context.recipe.data.shots}
    drawn = {name: number for name, number in fewer.items() if number is not None}
    return found | ({"data": card(context.bench, listings) | drawn} if listings else {})


def _row(context: Context, candidate: Entry, predicted: Tensor, labels: Tensor, inside: Tensor) -> Row:
    right = (predicted == labels).double()
    accuracy = float(right.mean())
    by_class = [right[labels == label] for label in range(len(context.bench.classes))]
    per_class = [float(own.mean()) if len(own) else None for own in by_class]
    present = [value for value in per_class if value is not None]
    return {
        "key": candidate.key,
        "label": candidate.label,
        "group": candidate.group,
        "held_out": accuracy,
        "held_out_in80": float(right[inside].mean()),
        "held_out_macro": sum(present) / len(present),
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        "per_class": per_class,
        "n": len(labels),
        "note": candidate.note,
    }


def _record(context: Context, rows: list[Row], timings: dict[str, float], command: str) -> dict[str, object]:
    recipe, run = context.recipe, context.run
    trained, merged = read_train(run), read_merge(run)
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
        "prompts": prompts_of(recipe),
        "class_features": trained.get("class_features", {"kind": "prompts"}),
        "words": words_of(recipe),
        "rows": rows,
        "enrichment": trained["enrichment"],
        "merge": {key: value for key, value in merged.items() if key in MergeFacts.__annotations__},
        "images_seen": trained["images_seen"],
        "n_held_out": result["n"],
        "timings": timings | {"total": sum(timings.values())},
        "versions": library_versions(),
        "command": command,
        "config": asdict(recipe),
        "files": digests(run, (run.merged, run.history_index)),
    }
