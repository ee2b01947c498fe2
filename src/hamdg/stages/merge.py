"""The merge stage: histories in, one model out, with its source-validation scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import cast

from torch import Tensor

from hamdg import console
from hamdg.algorithms.base import Candidate, Histories, Weights
from hamdg.cohort.valley import ValleyFacts, told
from hamdg.config import OptionValue
from hamdg.data.domain import opened_domains
from hamdg.errors import WeightsError
from hamdg.files import read_json, sha256_file, write_json
from hamdg.merge import Settings, merge, merge_with
from hamdg.merge.family import Family
from hamdg.merge.files import Provenance, load_tensors, read_metadata, save_tensors
from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.merge.files.provenance import resolved_settings
from hamdg.merge.geometry import mean_vector, norm, norms, pairwise_cosines, task_vectors
from hamdg.merge.rules.rhm import Criterion, Scope, Trimming, kept_fractions
from hamdg.merge_section import merge_options, method_of
from hamdg.models.export import full_state, write_config
from hamdg.models.tower import layer_of
from hamdg.models.weights import PREFIX
from hamdg.report.table import ZERO_SHOT
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.evidence import SourceEvidence
from hamdg.stages.opening import open_sources
from hamdg.stages.scoring import Scorer
from hamdg.stages.start import check_start
from hamdg.stages.target import NOTE, TargetEvidence


def rehearse(context: Context) -> None:
    """Merge copies of the start with each other, so that a method that cannot merge these sources says so now.

    Nothing has moved, so nothing is computed. Methods that ask for data are left out; asking would take its time.

    Raises:
        ConfigError: If the method cannot merge this run's sources with these options.
    """
    config = context.merge_config
    if not method_of(config).needs:
        base = context.base()
        models = dict.fromkeys(context.plan.groups(context.sources), base)
        merge_with(config.method, models, base, merge_options(config), Settings(buffers=config.buffers))


def merge_histories(context: Context) -> bool:
    """Fuse the histories into `merged.safetensors` and measure all candidates on the source hold-outs.

    Returns:
        Whether there was anything to do.

    Raises:
        WeightsError: If a file of the history is missing or is not what training wrote.
    """
    run = context.run
    if run.merge.exists() and run.merged.exists():
        return False
    with opened_domains() as opened:
        summary = _merged(context, opened)
    write_json(run.merge, summary | {"opened": sorted(opened)})
    return True


def _merged(context: Context, opened: AbstractSet[str]) -> dict[str, object]:
    """Merge, write the model, and return what `merge.json` holds; `opened` grows with every domain that is read."""
    run = context.run
    started = time.monotonic()
    base = context.base()
    last, history, digests = _read_history(context)
    config = context.merge_config
    options = merge_options(config)
    _keep_means(context, history)
    settings = Settings(evidence=_evidence(context, history), buffers=config.buffers)
    merged = merge_with(config.method, history, base, options, settings)
    start = sha256_file(run.base) if run.base.exists() else None
    origin = Provenance(
        config.method, options, digests, start, settings=resolved_settings(settings), versions=library_versions()
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
    return summary | {"seconds": time.monotonic() - started}


def _keep_means(context: Context, history: Mapping[str, Weights]) -> None:
    """Write the mean of every source's snapshots to where other kinds of histories have theirs."""
    run = context.run
    index = read_json(run.history_index)
    for source, files in index["sources"].items() if index["kind"] == "snapshots" else ():
        facts = read_metadata(run.history / files["last"]["file"])
        if COMPLETED_BY in facts:
            named = {PREFIX + name: tensor for name, tensor in history[source].items()}
            save_tensors(run.history / f"{source}.safetensors", named, facts)


def load_candidates(context: Context) -> list[Candidate]:
    """Return all models of the run's table, from what the merge stage left behind."""
    last, history, _ = _read_history(context)
    state, base = load_tensors(context.run.merged), context.base()
    merged = {name: state[PREFIX + name] for name in base}
    peeked = read_json(context.run.merge).get("target_data", False)
    return _candidates(context, Histories(base, last, history, merged), peeked)


def _candidates(context: Context, found: Histories, peeked: bool) -> list[Candidate]:
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
        kept = _kept(Family(history, base, names=moved, changes=True), merge_options(config))
    return {
        "method": config.method,
        "options": merge_options(config),
        "norms": norms(vectors),
        "cosines": pairwise_cosines(vectors, layer_of),
        "kept": kept,
        "merged_norm": norm(task_vectors({"merged": merged}, base)["merged"]),
        "mean_norm": norm(mean_vector(vectors)),
    }


def _kept(family: Family, options: Mapping[str, OptionValue]) -> dict[str, dict[str, float]]:
    keep = cast("float", options["keep"])
    scope, criterion = cast("Scope", options["scope"]), cast("Criterion", options["criterion"])
    return kept_fractions(family, Trimming(family, keep, scope, criterion), layer_of)


def _validation(context: Context, candidates: list[Candidate]) -> dict[str, float]:
    accuracies = Scorer(context).validation([one.weights for one in candidates], open_sources(context).holdouts())
    return {candidate.key: value for candidate, value in zip(candidates, accuracies, strict=True)}


def _valleys(context: Context) -> dict[str, ValleyFacts]:
    """Return, and say, where the histories begin and end that found that out themselves."""
    index = read_json(context.run.history_index)["sources"]
    found = {source: cast("ValleyFacts", index[source]["valley"]) for source in index if "valley" in index[source]}
    for source, facts in found.items():
        console.note(f"{source}: {told(facts)}")
    return found


def _read_history(
    context: Context,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return last models, histories, and one digest per source over the files that made its history."""
    check_start(context)
    index = read_json(context.run.history_index)["sources"]
    last, history, digests = {}, {}, {}
    for source in sorted(index):
        last[source] = _checked(context, index[source]["last"])
        kept = index[source]["history"]
        states = {str(entry["step"]).zfill(9): _checked(context, entry) for entry in kept}
        history[source] = merge("uniform", states) if len(states) > 1 else next(iter(states.values()))
        digests[source] = " ".join(entry["sha256"] for entry in kept)
    return last, history, digests


def _checked(context: Context, entry: dict[str, str]) -> dict[str, Tensor]:
    path = context.run.history / entry["file"]
    if not path.is_file():
        raise WeightsError(f"`{path}`, which training wrote, is missing; repeat the run with `--force`.")
    if sha256_file(path) != entry["sha256"]:
        raise WeightsError(
            f"`{path}` is not the file that training wrote (its digest differs); repeat the run with `--force`."
        )
    # Older versions wrote the image tower's own names.
    prefix = PREFIX if COMPLETED_BY in read_metadata(path) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in load_tensors(path).items()}
