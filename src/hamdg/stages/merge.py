"""The merge stage: histories in, one model out, with its source-validation scores."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import Tensor

from hamdg import console
from hamdg.algorithms.base import Entry, Histories, Weights
from hamdg.cohort.swad import ValleyFacts, told
from hamdg.config.merge_section import merge_options, method_of
from hamdg.config.recipe import OptionValue
from hamdg.data.domain import opened_domains
from hamdg.files import write_json
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.files import Provenance, load_tensors, read_metadata, save_tensors
from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.merge.files.provenance import resolved_settings
from hamdg.merge.geometry import mean_vector, norm, norms, pairwise_cosines, task_vectors
from hamdg.merge.methods.rhm import Criterion, Scope, Trimming, kept_fractions
from hamdg.merge.model_set import ModelSet
from hamdg.models.export import full_state, write_config
from hamdg.models.tower import layer_of
from hamdg.models.weights import PREFIX
from hamdg.report.table import ZERO_SHOT
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import check_digests, digests
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.evidence import SourceEvidence
from hamdg.stages.scoring import Scorer
from hamdg.stages.sources import open_sources
from hamdg.stages.start import check_start
from hamdg.stages.summaries import WROTE, HistoryEntry, read_index, read_merge, read_train
from hamdg.stages.target_evidence import NOTE, TargetEvidence


def dry_run_merge(context: Context) -> None:
    """Merge copies of the start with each other, so that a method that cannot merge these sources says so now.

    Nothing has moved, so nothing is computed. Methods that ask for data are left out; asking would take its time.

    Raises:
        ConfigError: If the method cannot merge this run's sources with these options.
    """
    config = context.merge_config
    if not method_of(config).needs:
        base = context.base()
        models = dict.fromkeys(context.plan.groups(context.sources), base)
        merge_with(config.method, models, base, merge_options(config), MergeSettings(buffers=config.buffers))


def merge_histories(context: Context) -> bool:
    """Fuse the histories into `merged.safetensors` and measure all candidates on the source hold-outs.

    Returns:
        Whether there was anything to do.

    Raises:
        RunDirectoryError: If a file of the history is missing or is not what training wrote.
        WeightsError: If the run began at other weights.
    """
    run = context.run
    if run.merge.exists() and all((run.path / name).exists() for name in _written(run)):
        return False
    run.unmark_done()
    with opened_domains() as opened:
        summary = _merged(context, opened)
    write_json(run.merge, summary | {"opened": sorted(opened)})
    return True


def _written(run: RunDirectory) -> Collection[str]:
    """Return the names of the files that the merge of a run wrote."""
    return read_merge(run).get("wrote", {run.merged.name: ""})


def _merged(context: Context, opened: AbstractSet[str]) -> dict[str, object]:
    """Merge, write the model, and return what `merge.json` holds; `opened` grows with every domain that is read."""
    run = context.run
    started = time.monotonic()
    base = context.base()
    last, history, origins = _read_history(context)
    config = context.merge_config
    options = merge_options(config)
    means = _keep_means(context, history)
    settings = MergeSettings(evidence=_evidence(context, history), buffers=config.buffers)
    merged = merge_with(config.method, history, base, options, settings)
    start = read_train(run).get("wrote", {}).get(run.base.name)
    origin = Provenance(
        config.method, options, origins, start, settings=resolved_settings(settings), versions=library_versions()
    )
    save_tensors(run.merged, full_state(context.loaded, merged), origin.metadata())
    write_config(context.loaded, context.model_config)
    peeked = context.recipe.held_out in opened
    candidates = _candidates(context, Histories(base, last, history, merged), peeked)
    summary = describe_merge(context, base, history, merged) | {
        "target_data": peeked,
        "validation": _validation(context, candidates),
    }
    if valleys := _valleys(context):
        summary |= {"valleys": valleys}
    return summary | {
        "seconds": time.monotonic() - started,
        "read": digests(run, (run.train, run.splits, run.history_index)),
        "wrote": digests(run, (run.merged, context.model_config, *means)),
    }


def _keep_means(context: Context, history: Mapping[str, Weights]) -> list[Path]:
    """Write the mean of every source's snapshots to where other kinds of histories have theirs."""
    run, means = context.run, []
    index = read_index(run)
    for source, files in index["sources"].items() if index["kind"] == "snapshots" else ():
        facts = read_metadata(run.history / files["last"]["file"])
        if COMPLETED_BY in facts:
            named = {PREFIX + name: tensor for name, tensor in history[source].items()}
            means.append(run.history / f"{source}.safetensors")
            save_tensors(means[-1], named, facts)
    return means


def check_merge(run: RunDirectory) -> None:
    """Check that what the merge of a run read and wrote is still there.

    Raises:
        RunDirectoryError: If a file is missing or is another.
    """
    merged = read_merge(run)
    check_digests(run, merged.get("read", {}), "the merge read")
    check_digests(run, merged.get("wrote", {}), "the merge wrote", "restore it, or delete it and repeat the command")


def load_entries(context: Context) -> list[Entry]:
    """Return all models of the run's table, from what the merge stage left behind."""
    last, history, _ = _read_history(context)
    state, base = load_tensors(context.run.merged), context.base()
    merged = {name: state[PREFIX + name] for name in base}
    peeked = read_merge(context.run).get("target_data", False)
    return _candidates(context, Histories(base, last, history, merged), peeked)


def _candidates(context: Context, found: Histories, peeked: bool) -> list[Entry]:
    head = context.recipe.model.text_head
    start = ZERO_SHOT if head == "prompts" else f"start model, {head.replace('_', ' ')}"
    *others, result = context.plan.candidates(replace(found, method=context.merge_config.method, start=start))
    noted = replace(result, note=NOTE) if peeked else result
    return [*others, noted]


def _evidence(context: Context, history: Mapping[str, Weights]) -> SourceEvidence | None:
    """Return what answers the merge method's questions, if it has any."""
    info = method_of(context.merge_config)
    if not info.needs:
        return None
    return TargetEvidence(context, history) if info.target else SourceEvidence(context, history)


def describe_merge(
    context: Context, base: Weights, history: dict[str, dict[str, Tensor]], merged: Weights
) -> dict[str, object]:
    """Return how far the histories went, how they lie to each other, and what the merge kept of them."""
    vectors = task_vectors(history, base)
    config = context.merge_config
    kept: dict[str, dict[str, float]] = {}
    if config.method == "rhm":
        moved = tuple(name for name in base if any(bool(vector[name].any()) for vector in vectors.values()))
        kept = _kept(ModelSet(history, base, names=moved, changes=True), merge_options(config))
    return {
        "method": config.method,
        "options": merge_options(config),
        "norms": norms(vectors),
        "cosines": pairwise_cosines(vectors, layer_of),
        "kept": kept,
        "merged_norm": norm(task_vectors({"merged": merged}, base)["merged"]),
        "mean_norm": norm(mean_vector(vectors)),
    }


def _kept(model_set: ModelSet, options: Mapping[str, OptionValue]) -> dict[str, dict[str, float]]:
    keep = cast("float", options["keep"])
    scope, criterion = cast("Scope", options["scope"]), cast("Criterion", options["criterion"])
    return kept_fractions(model_set, Trimming(model_set, keep, scope, criterion), layer_of)


def _validation(context: Context, candidates: list[Entry]) -> dict[str, float]:
    accuracies = Scorer(context).validation([one.weights for one in candidates], open_sources(context).holdouts())
    return {candidate.key: value for candidate, value in zip(candidates, accuracies, strict=True)}


def _valleys(context: Context) -> dict[str, ValleyFacts]:
    """Return, and say, where the histories begin and end that found that out themselves."""
    index = read_index(context.run)["sources"]
    found = {source: files["valley"] for source, files in index.items() if "valley" in files}
    for source, facts in found.items():
        console.note(f"{source}: {told(facts)}")
    return found


def _read_history(
    context: Context,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return last models, histories, and one digest per source over the files that made its history."""
    check_start(context)
    run = context.run
    index, wrote = read_index(run)["sources"], read_train(run).get("wrote", {})
    check_digests(run, {name: wrote[name] for name in wrote if run.path / name == run.history_index}, WROTE)
    last, history, origins = {}, {}, {}
    for source in sorted(index):
        last[source] = _tensors(run, index[source]["last"])
        kept = index[source]["history"]
        states = {str(entry["step"]).zfill(9): _tensors(run, entry) for entry in kept}
        history[source] = merge("uniform", states) if len(states) > 1 else next(iter(states.values()))
        origins[source] = " ".join(entry["sha256"] for entry in kept)
    return last, history, origins


def _tensors(run: RunDirectory, entry: HistoryEntry) -> dict[str, Tensor]:
    path = run.history / entry["file"]
    check_digests(run, {f"{run.history.name}/{entry['file']}": entry["sha256"]}, WROTE)
    # Older versions wrote the image tower's own names.
    prefix = PREFIX if COMPLETED_BY in read_metadata(path) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in load_tensors(path).items()}
