"""The evaluation: always last, for every algorithm, and the only place that looks at the held-out domain's labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import SOURCE, START, Entry
from hamdg.config.reading import values_of
from hamdg.data.domain import Domain, combined_fingerprint, only_domains, open_domain, opened_domains
from hamdg.data.listing import Listing
from hamdg.data.module import target_positions
from hamdg.data.resolve import prompts_of, words_of
from hamdg.data.splits import image_classes
from hamdg.data.subset import Subset
from hamdg.data.verify.card import card
from hamdg.errors import DataError
from hamdg.files import write_json
from hamdg.models.network import has_batchnorm
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity
from hamdg.runs.lines import LineFacts
from hamdg.runs.manifest import check_digests, digests
from hamdg.runs.predictions import MapPredictions, Predictions, TargetPredictions, write_predictions
from hamdg.runs.record import EVALUATE, FORMAT, BatchNorm, Metrics, Row, StepRecord, read_record
from hamdg.runs.steps import read_start, read_validation, read_validation_by_source
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.control_rows import check_control, join_maps, join_predictions, joined_rows
from hamdg.stages.entries import measured_entries
from hamdg.stages.exporting import exported
from hamdg.stages.headline import headline_images, headline_of, image_count, part_of
from hamdg.stages.lines import measure_lines
from hamdg.stages.metrics import TargetMetrics
from hamdg.stages.predictions import MapLog, PredictionLog, choose_mistakes, map_predictions
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import split_facts
from hamdg.stages.worst_maps import choose_worst
from hamdg.tasks.segmentation import IGNORED, jackknife_error

# With fewer images that have labels, the mean IoU has no standard error.
_LABELED = 2


class Found(NamedTuple):
    """What an evaluation found: rows, controls before the result; what the page draws; what the images were."""

    rows: list[Row]
    predictions: Predictions
    lines: LineFacts | None
    data: dict[str, object]


class Tested(NamedTuple):
    """What was measured and predicted on one target, by the key of the entries that are for it.

    Args:
        metrics: The metrics.
        predictions: What is kept of the predictions.
        errors: The standard error of the primary metric on the headline's part, where it is not the binomial one.
    """

    metrics: dict[str, Metrics]
    predictions: TargetPredictions | MapPredictions
    errors: dict[str, float]


def evaluate(context: Context, command: str, controls: Sequence[Context], again: bool = False) -> bool:
    """Test every entry of the run on the held-out domain; write what they predicted and, last, `record.json`.

    Args:
        context: The run, its steps done.
        command: The command that the record names.
        controls: The evaluated runs whose rows join the table.
        again: Test them even if there is a record, which is replaced at the end.

    Returns:
        Whether there was anything to do.

    Raises:
        RunDirectoryError: If a file that an earlier step wrote is missing or another.
        DataError: If the images are missing or damaged, or not those that a control was tested on.
    """
    run = context.run
    if run.record.exists() and not again:
        check_digests(run, read_record(run.record).get("files", {}), "the evaluation read")
        return False
    started = time.monotonic()
    with only_domains((*context.sources, *context.targets)), opened_domains() as opened:
        entries = measured_entries(context)
        found = _tested(context, entries, controls)
    steps = _steps(context) | {EVALUATE: _own_step(sorted(opened), time.monotonic() - started)}
    joined = [row["key"] for row in found.rows if row["key"] not in {entry.key for entry in entries}]
    places = {"control_runs": [control.run.path.relative_to(run.path.parents[1]).as_posix() for control in controls]}
    run.unmark_done()
    _write_evidence(run, found)
    record = _record(context, found.rows, steps, command)
    write_json(run.record, record | {"controls": joined} | (places if controls else {}) | found.data)
    return True


def _write_evidence(run: RunDirectory, found: Found) -> None:
    """Write what the page draws beside the record, whose size is that of its table."""
    write_predictions(run.predictions, found.predictions)
    if found.lines is None:
        run.lines.unlink(missing_ok=True)
    else:
        write_json(run.lines, found.lines)


def _own_step(opened: list[str], seconds: float) -> StepRecord:
    return StepRecord(reads=["sources", "targets"], opened=opened, facts={}, figures=[], seconds=seconds, images_seen=0)


def _tested(context: Context, entries: Sequence[Entry], controls: Sequence[Context]) -> Found:
    """Test every entry."""
    opened = {name: open_domain(context.recipe, name, context.preprocess.side) for name in context.targets}
    for control in controls:
        check_control(context, control.run, opened)
    tested = {name: _measured(context, domain, entries) for name, domain in opened.items()}
    rows = _rows(context, entries, tested)
    lines = measure_lines(context, entries, opened, _ends(context, entries, rows))
    known = {row["key"] for row in rows}
    rows[-1:-1] = [row for control in controls for row in joined_rows(context, control, known)]
    names = [name for name in context.bench.domains if name in (*context.sources, *context.targets)]
    domains = [opened.get(name) or open_domain(context.recipe, name, context.preprocess.side) for name in names]
    predictions = _predictions(context, entries, opened, tested, controls)
    return Found(rows, predictions, lines, _data(context, domains))


def _measured(context: Context, domain: Domain, entries: Sequence[Entry]) -> Tested:
    """Return everything measured and predicted on one target."""
    labels, classes = torch.from_numpy(np.array(domain.clean_labels)), len(context.bench.classes)
    everything = Subset(context.tested_images(domain), np.arange(len(domain)), labels)
    everything.prepare()
    own = [entry for entry in entries if not entry.only or domain.name in entry.only]
    inside = torch.from_numpy(target_positions(context.recipe, domain.name, len(domain))[0])
    metrics = [TargetMetrics(context.task, classes, len(domain), inside) for _ in own]
    maps = labels.ndim > 1
    seen = headline_images(context, domain.name, len(domain))
    if maps:
        # The record has the 80 % part beside the headline.
        for part in (seen, inside.numpy()):
            _check_labeled(domain, labels[part])
    logs = [MapLog(len(domain), classes) if maps else PredictionLog(len(domain)) for _ in own]
    scorer = Scorer(context.device, context.preprocess, context.half)
    for batch in scorer.scores([Scored(entry.network, entry.weights) for entry in own], everything):
        metrics[batch.model].update(batch.scores, batch.labels, batch.start)
        logs[batch.model].update(batch.scores, batch.labels, batch.start)
    computed = {entry.key: found.compute() for entry, found in zip(own, metrics, strict=True)}
    by_key = {entry.key: log for entry, log in zip(own, logs, strict=True)}
    if maps:
        map_logs = {key: log for key, log in by_key.items() if isinstance(log, MapLog)}
        errors = {key: jackknife_error(log.counts[seen]) for key, log in map_logs.items()}
        return Tested(computed, map_predictions(map_logs), errors)
    plain = {key: log for key, log in by_key.items() if isinstance(log, PredictionLog)}
    predictions = TargetPredictions(
        np.array(image_classes(domain.clean_labels)),
        {key: log.predicted.numpy() for key, log in plain.items()},
        {key: log.confidence.numpy() for key, log in plain.items()},
    )
    return Tested(computed, predictions, {})


def _check_labeled(domain: Domain, maps: Tensor) -> None:
    """Refuse a test of which nothing could be said."""
    labeled = int((maps != IGNORED).flatten(1).any(dim=1).sum())
    if labeled < _LABELED:
        raise DataError(
            f"Of `{domain.name}`, the result is tested on {len(maps)} images, and {labeled} with a pixel of a class; "
            f"{_LABELED} are needed. Give the domain more label maps, or name more of their ids in `data.ids`."
        )


def _predictions(
    context: Context,
    entries: Sequence[Entry],
    domains: Mapping[str, Domain],
    tested: Mapping[str, Tested],
    controls: Sequence[Context],
) -> Predictions:
    """Return what was predicted, controls included: their rows are in the table, too."""
    found = {name: one.predictions for name, one in tested.items()}
    own = {name: one for name, one in found.items() if isinstance(one, TargetPredictions)}
    maps = {name: one for name, one in found.items() if isinstance(one, MapPredictions)}
    mistakes = choose_mistakes(domains, own, entries[-1].key, context.recipe.evaluate.mistakes)
    worst = choose_worst(context, entries, domains, maps)
    for control in controls:
        own, maps = join_predictions(control, own), join_maps(control, maps)
    return Predictions(own, mistakes, maps, worst)


def _rows(context: Context, entries: Sequence[Entry], tested: Mapping[str, Tested]) -> list[Row]:
    """Return the entries' own rows; entries of one key are one."""
    metrics = {name: one.metrics for name, one in tested.items()}
    errors = {name: one.errors for name, one in tested.items()}
    validation, sources = read_validation(context.run), read_validation_by_source(context.run)
    found = []
    for key, entry in {entry.key: entry for entry in entries}.items():
        row = _row(context, entry, metrics, validation.get(key), errors)
        if key in sources:
            row["sources"] = sources[key]
        if entry.passes != 1:
            row["passes"] = entry.passes
        found.append(row)
    return found


def _ends(context: Context, entries: Sequence[Entry], rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return what is known of single models; of a row that has one for each target, the sources have means."""
    keys = [entry.key for entry in entries]
    return {row["key"]: _on_domains(context, row) for row in rows if keys.count(row["key"]) == 1}


def _on_domains(context: Context, row: Row) -> dict[str, float]:
    """Return a row's primary metric on every domain as a whole."""
    primary = {name: metrics[context.task.primary] for name, metrics in row["targets"].items()}
    return {**row.get("sources", {}), **{name: value for name, value in primary.items() if isinstance(value, float)}}


def _row(
    context: Context,
    entry: Entry,
    tested: Mapping[str, Mapping[str, Metrics]],
    validation: float | None,
    errors: Mapping[str, Mapping[str, float]],
) -> Row:
    targets = {name: dict(found[entry.key]) for name, found in tested.items() if entry.key in found}
    given = [found[entry.key] for found in errors.values() if entry.key in found]
    headline = headline_of(context, targets, given)
    return {
        "key": entry.key,
        "label": entry.label,
        "group": entry.group,
        "held_out": headline.held_out,
        "held_out_in80": headline.held_out_in80,
        "standard_error": headline.standard_error,
        "validation": validation,
        "note": entry.note,
        "targets": targets,
    }


def _data(context: Context, domains: Sequence[Domain]) -> dict[str, object]:
    """Return what the record says of the images and their splits."""
    splits = {
        domain.name: split_facts(context.recipe, domain, source=domain.name in context.sources) for domain in domains
    }
    listings = {domain.name: domain.contents for domain in domains if isinstance(domain.contents, Listing)}
    found: dict[str, object] = {"data_digest": combined_fingerprint(list(domains)), "splits": splits}
    fewer = {"subset": context.recipe.data.subset, "shots": context.recipe.data.shots}
    drawn = {name: number for name, number in fewer.items() if number is not None}
    return found | ({"data": card(context.bench, listings) | drawn} if listings else {})


def _steps(context: Context) -> dict[str, StepRecord]:
    """Return what the record says of the steps."""
    found: dict[str, StepRecord] = {}
    for step in context.algorithm.steps():
        own = context.step(step.name).read()
        found[step.name] = StepRecord(
            reads=own["reads"],
            opened=own["opened"],
            facts={name: value for name, value in own["facts"].items() if name != "provenance"},
            figures=own["figures"],
            seconds=own["seconds"],
            images_seen=own["images_seen"],
        )
    return found


def _record(context: Context, rows: Sequence[Row], steps: Mapping[str, StepRecord], command: str) -> dict[str, object]:
    recipe, run, result = context.recipe, context.run, rows[-1]
    by_key = {row["key"]: row for row in rows}
    timings = {name: step["seconds"] for name, step in steps.items()}
    models = (run.merged.name, run.head.name)
    return {
        "format": FORMAT,
        "benchmark": recipe.benchmark,
        "held_out": "+".join(context.targets),
        "targets": list(context.targets),
        "algorithm": recipe.algorithm,
        "label": recipe.label or context.algorithm.label,
        "footnote": context.algorithm.footnote,
        "metric": context.task.primary,
        "part": part_of(context),
        "seed": recipe.seed,
        "identity": identity(recipe),
        "held_out_accuracy": result["held_out"],
        "held_out_accuracy_in80": result["held_out_in80"],
        "zero_shot_accuracy": by_key[START]["held_out"] if START in by_key else None,
        "source_accuracies": {
            key.removeprefix(SOURCE): row["held_out"] for key, row in by_key.items() if key.startswith(SOURCE)
        },
        "validation_accuracy": result["validation"],
        "classes": list(context.bench.classes),
        "domains": list(context.bench.domains),
        "sources": list(context.sources),
        "layers": list(context.network().layers()),
        "prompts": prompts_of(recipe) if recipe.model.uses_text else [],
        "class_features": read_start(run)["class_features"],
        "words": words_of(recipe),
        **_batchnorm(context),
        # Of one target, there is nothing to average.
        **({"average": recipe.evaluate.average} if len(context.targets) > 1 else {}),
        "rows": list(rows),
        "steps": steps,
        "images_seen": sum(step["images_seen"] for step in steps.values()),
        "n_held_out": sum(image_count(metrics) for metrics in result["targets"].values()),
        "timings": timings | {"total": sum(timings.values())},
        "versions": library_versions(),
        "command": command,
        "config": values_of(recipe),
        "files": digests(run, [run.path / name for name in exported(run) if name.endswith(models)]),
    }


def _batchnorm(context: Context) -> dict[str, BatchNorm]:
    """Return what the record says of BatchNorm; those of CLIPs are frozen as a rule, and nothing is said of them."""
    model = context.recipe.model
    told = has_batchnorm(context.pretrained.encoder) and not (model.has_text and model.statistics == "frozen")
    return {"batchnorm": model.statistics} if told else {}
