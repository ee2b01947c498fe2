"""The evaluate stage: the one that opens the held-out domain, after a merge that may have asked for it by name."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import Entry
from hamdg.data.domain import Domain, combined_fingerprint, open_domain
from hamdg.data.listing import Listing
from hamdg.data.module import split_domain
from hamdg.data.resolve import prompts_of, words_of
from hamdg.data.subset import Subset
from hamdg.data.verify.card import card
from hamdg.errors import DataError
from hamdg.files import write_json
from hamdg.models.tower import layer_of
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity
from hamdg.runs.manifest import check_digests, digests
from hamdg.runs.merge_figures import MergeFacts, merge_figures
from hamdg.runs.record import FORMAT, Metrics, Reads, Record, Row, StepRecord, read_record
from hamdg.runs.selection import selection_figures
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.merge import check_merge, load_entries
from hamdg.stages.scoring import Scorer
from hamdg.stages.sources import same_images, split_facts
from hamdg.stages.summaries import read_merge, read_train

_SELECTION = (
    "At each step a model is offered the other sources' batches and accepts what it is more confident about than it "
    "is, on average, about its own batch."
)


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
    record = _evaluated(context, command, control)
    run.unmark_done()
    write_json(run.record, record)
    return True


def opened_before(run: RunDirectory) -> dict[str, list[str]]:
    """Return the domains whose images were opened by each stage before the evaluation, as far as it wrote that."""
    found = {"train": read_train(run).get("opened"), "merge": read_merge(run).get("opened")}
    return {stage: names for stage, names in found.items() if names is not None}


def _evaluated(context: Context, command: str, control: RunDirectory | None) -> Record:
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
    controls: list[Row] = []
    inside = torch.from_numpy(split_domain(context.recipe, held_out)[0])
    candidates = load_entries(context)
    predictions = Scorer(context).predict([candidate.weights for candidate in candidates], everything)
    rows = [
        _row(candidate, _metrics(context, predicted, everything.labels, inside), context.recipe.held_out, validation)
        for candidate, predicted in zip(candidates, predictions, strict=True)
    ]
    if control is not None:
        known = {row["key"] for row in rows}
        controls = [row for row in read_record(control.record)["rows"] if row["key"] not in known]
        rows[-1:-1] = controls
    domains = [held_out if name == held_out.name else _opened(context, name) for name in context.bench.domains]
    timings = {"open": opened - started, "evaluate": time.monotonic() - opened}
    record = _record(context, rows, timings, command)
    record["controls"] = [row["key"] for row in controls]
    return cast("Record", record | _data(context, domains))


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


def _metrics(context: Context, predicted: Tensor, labels: Tensor, inside: Tensor) -> Metrics:
    """Return what is measured of a model's predictions [n]; `inside` are the positions of the 80 % part."""
    right = (predicted == labels).double()
    outside = torch.ones(len(right), dtype=torch.bool)
    outside[inside] = False
    by_class = [right[labels == label] for label in range(len(context.bench.classes))]
    per_class = [float(own.mean()) if len(own) else None for own in by_class]
    present = [value for value in per_class if value is not None]
    return {
        "accuracy": float(right.mean()),
        "accuracy_in80": float(right[inside].mean()),
        "accuracy_in20": float(right[outside].mean()) if outside.any() else None,
        "macro_accuracy": sum(present) / len(present),
        "per_class_accuracy": list(per_class),
        "images": len(labels),
    }


def _row(candidate: Entry, metrics: Metrics, target: str, validation: Mapping[str, float]) -> Row:
    accuracy = cast("float", metrics["accuracy"])
    return {
        "key": candidate.key,
        "label": candidate.label,
        "group": candidate.group,
        "held_out": accuracy,
        "held_out_in80": cast("float", metrics["accuracy_in80"]),
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / cast("int", metrics["images"])),
        "validation": validation[candidate.key],
        "note": candidate.note,
        "targets": {target: metrics},
    }


def _record(context: Context, rows: list[Row], timings: dict[str, float], command: str) -> Record:
    recipe, run = context.recipe, context.run
    trained, steps = read_train(run), _steps(context)
    by_key = {row["key"]: row for row in rows}
    result, start = by_key[context.plan.result], by_key.get("zero_shot")
    timings = {name: step["seconds"] for name, step in steps.items()} | timings
    return {
        "format": FORMAT,
        "benchmark": recipe.benchmark,
        "held_out": recipe.held_out,
        "targets": [recipe.held_out],
        "algorithm": recipe.algorithm,
        "label": recipe.label or context.plan.label,
        "footnote": context.plan.footnote(context.merge_config.method),
        "metric": "accuracy",
        "part": "all",
        "seed": recipe.seed,
        "identity": identity(recipe),
        "held_out_accuracy": result["held_out"],
        "held_out_accuracy_in80": result["held_out_in80"],
        "zero_shot_accuracy": None if start is None else start["held_out"],
        "source_accuracies": {key.removeprefix("source/"): r["held_out"] for key, r in by_key.items() if "/" in key},
        "validation_accuracy": result["validation"],
        "classes": list(context.bench.classes),
        "domains": list(context.bench.domains),
        "sources": list(context.sources),
        "prompts": prompts_of(recipe),
        "class_features": trained.get("class_features", {"kind": "prompts"}),
        "words": words_of(recipe),
        "layers": list(dict.fromkeys(layer_of(name) for name in context.base())),
        "rows": rows,
        "controls": [],
        "steps": steps,
        "images_seen": sum(step["images_seen"] for step in steps.values()),
        "n_held_out": int(cast("int", result["targets"][recipe.held_out]["images"])),
        "timings": timings | {"total": sum(timings.values())},
        "data_digest": "",
        "versions": library_versions(),
        "command": command,
        "config": asdict(recipe),
        "files": digests(run, (run.merged, run.history_index)),
    }


def _steps(context: Context) -> dict[str, StepRecord]:
    """Return what the record says of training and merge."""
    trained, merged = read_train(context.run), read_merge(context.run)
    selected = trained["enrichment"]
    facts = cast("MergeFacts", {key: value for key, value in merged.items() if key in MergeFacts.__annotations__})
    reads: list[Reads] = ["sources", "targets"] if merged.get("target_data") else ["sources"]
    note = f"{_SELECTION} With the accepted images the models saw {trained['images_seen']['with_enrichment']:,} images."
    train: StepRecord = {
        "reads": ["sources"],
        "opened": trained.get("opened"),
        "facts": {} if selected is None else {"selection": selected},
        "figures": []
        if selected is None
        else selection_figures(selected, "enrichment", note=note, samples="samples.npz"),
        "seconds": trained["seconds"],
        "images_seen": trained["images_seen"]["fresh"],
    }
    merge: StepRecord = {
        "reads": reads,
        "opened": merged.get("opened"),
        "facts": {"merge": facts},
        "figures": merge_figures(facts),
        "seconds": merged["seconds"],
        "images_seen": 0,
    }
    return {"train": train, "merge": merge}
