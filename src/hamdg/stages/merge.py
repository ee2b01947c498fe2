"""The merge stage: histories in, one model out, with its source-validation scores."""

from __future__ import annotations

import time
from dataclasses import asdict

from torch import Tensor

from hamdg.algorithms.base import Candidate, Histories, Weights
from hamdg.errors import WeightsError
from hamdg.files import read_json, sha256_file, write_json
from hamdg.merge import merge, merge_with
from hamdg.merge.family import Family
from hamdg.merge.files import load_tensors, provenance, save_tensors
from hamdg.merge.geometry import mean_vector, norm, norms, pairwise_cosines, task_vectors
from hamdg.merge.rules.rhm import Trimming, kept_fractions
from hamdg.models.export import PREFIX, full_state, write_config
from hamdg.models.tower import layer_of
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.scoring import Scorer, source_holdouts


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
    started = time.monotonic()
    base = context.base()
    last, history, digests = _read_history(context)
    method, options = merge_options(context)
    merged = merge_with(method, history, base, options)
    metadata = provenance(method, options, digests, library_versions())
    save_tensors(run.merged, full_state(context.loaded, merged), metadata)
    write_config(context.loaded, run.path / "open_clip_config.json")
    candidates = context.plan.candidates(Histories(base, last, history, merged))
    summary = describe_merge(context, base, history, merged) | {"validation": _validation(context, candidates)}
    write_json(run.merge, summary | {"seconds": time.monotonic() - started})
    return True


def load_candidates(context: Context) -> list[Candidate]:
    """Return all models of the run's table, from what the merge stage left behind."""
    last, history, _ = _read_history(context)
    state, base = load_tensors(context.run.merged), context.base()
    merged = {name: state[PREFIX + name] for name in base}
    return context.plan.candidates(Histories(base, last, history, merged))


def merge_options(context: Context) -> tuple[str, dict[str, object]]:
    """Return the merge method and its options (the plain mean has none)."""
    values: dict[str, object] = asdict(context.merge_config)
    method = str(values.pop("method"))
    return method, values if method == "rhm" else {}


def describe_merge(
    context: Context, base: Weights, history: dict[str, dict[str, Tensor]], merged: Weights
) -> dict[str, object]:
    """Return how far the histories went, how they lie to each other, and what the merge kept of them."""
    vectors = task_vectors(history, base)
    config = context.merge_config
    kept: dict[str, dict[str, float]] = {}
    if config.method == "rhm":
        moved = tuple(name for name in base if any(bool(vector[name].any()) for vector in vectors.values()))
        family = Family(history, base, names=moved, changes=True)
        kept = kept_fractions(family, Trimming(family, config.keep, config.scope, config.criterion), layer_of)
    return {
        "norms": norms(vectors),
        "cosines": pairwise_cosines(vectors, layer_of),
        "kept": kept,
        "merged_norm": norm(task_vectors({"merged": merged}, base)["merged"]),
        "mean_norm": norm(mean_vector(vectors)),
    }


def _validation(context: Context, candidates: list[Candidate]) -> dict[str, float]:
    scorer, parts = Scorer(context), source_holdouts(context)
    return {candidate.key: scorer.validation(candidate.weights, parts) for candidate in candidates}


def _read_history(
    context: Context,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return last models, histories, and one digest per source over the files that made its history."""
    _check_start(context)
    index = read_json(context.run.history_index)["sources"]
    last, history, digests = {}, {}, {}
    for source in sorted(index):
        last[source] = _checked(context, index[source]["last"])
        kept = index[source]["history"]
        states = {str(entry["step"]).zfill(9): _checked(context, entry) for entry in kept}
        history[source] = merge("uniform", states) if len(states) > 1 else next(iter(states.values()))
        digests[source] = " ".join(entry["sha256"] for entry in kept)
    return last, history, digests


def _check_start(context: Context) -> None:
    """Refuse histories that began at other weights: their task vectors would be nonsense."""
    if read_json(context.run.train).get("start_sha256") != context.start_digest:
        raise WeightsError(
            f"The weights of the model `{context.recipe.model.name}` are not those that `{context.run.path}` was "
            "trained from; bring them back, or repeat the run with `--force`."
        )


def _checked(context: Context, entry: dict[str, str]) -> dict[str, Tensor]:
    path = context.run.history / entry["file"]
    if not path.is_file():
        raise WeightsError(f"`{path}`, which training wrote, is missing; repeat the run with `--force`.")
    if sha256_file(path) != entry["sha256"]:
        raise WeightsError(
            f"`{path}` is not the file that training wrote (its digest differs); repeat the run with `--force`."
        )
    return load_tensors(path)
