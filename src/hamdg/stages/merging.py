"""The step that fuses the learners' histories into one model, by any method of the merge library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor

from hamdg import console
from hamdg.algorithms.base import Step, StepResult
from hamdg.config.merge_section import merge_options, method_of
from hamdg.config.recipe import MergeConfig, Recipe
from hamdg.data.domain import opened_domains
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge_with
from hamdg.merge.files import Provenance
from hamdg.merge.files.provenance import resolved_settings
from hamdg.merge.geometry import mean_vector, norm, norms, pairwise_cosines, task_vectors
from hamdg.models.layers import layer_of
from hamdg.models.network import Weights
from hamdg.runs.manifest import digests
from hamdg.runs.merge_figures import MergeFacts, merge_figures
from hamdg.runs.merge_search import LEAKING, search_facts, search_note, shared_drawings
from hamdg.runs.record import Reads
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.evidence import SourceEvidence
from hamdg.stages.step_files import StepFiles, joined
from hamdg.stages.target_evidence import NOTE, TargetEvidence

# The share of the coordinates that a merge kept of each source, by layer, where its method can say so.
Kept = Callable[[Weights, Mapping[str, Weights], MergeConfig], dict[str, dict[str, float]]]


def merge_step(
    learners: Sequence[str],
    config: MergeConfig,
    *,
    section: bool = True,
    after: str | Sequence[str] = "train",
    name: str = "merge",
    kept: Kept | None = None,
    mixed: bool = False,
) -> Step:
    """Return the step that merges what the learners of earlier steps left, into `<name>/merged.safetensors`.

    Args:
        learners: Names of the learners.
        config: The method and its options.
        section: Whether `config` is the recipe's section `merge`; without it the method defines no run.
        after: The step that trained them, or the steps.
        name: The step's name.
        kept: Says what the merge kept of each learner.
        mixed: Whether learners have seen other source domains than their own, so that none can be left out.
    """
    info, steps = method_of(config), [after] if isinstance(after, str) else list(after)
    reads: set[Reads] = {"sources"} if info.needs else set()

    def run(context: Context) -> StepResult:
        return merge_histories(context, config, [context.step(one) for one in steps], kept, mixed=mixed)

    def check(context: Context) -> None:
        if "holdout" in info.needs:
            _check_one_each(context, config, learners)
        elif not info.needs:
            _dry_run(context, config, learners)

    return Step(
        name,
        run,
        reads=frozenset(reads | ({"targets"} if info.target else set())),
        sections=frozenset({"merge"} if section else ()),
        check=check,
        examples=config.examples if info.needs else 0,
    )


def sources_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the source domains of a recipe, which are the names of its source models."""
    return benchmark_of(recipe).sources(recipe.held_out, recipe.excluded)


def _dry_run(context: Context, config: MergeConfig, learners: Sequence[str]) -> None:
    """Merge copies of the start with each other, so that a method that cannot merge these learners says so now.

    Nothing has moved, so nothing is computed. Methods that ask for data are left out; asking would take its time.

    Raises:
        ConfigError: If the method cannot merge them with these options.
    """
    base = context.base()
    merge_with(config.method, dict.fromkeys(learners, base), base, merge_options(config), _settings(config))


def _check_one_each(context: Context, config: MergeConfig, learners: Sequence[str]) -> None:
    """Refuse a search over models that are not one for each source domain."""
    own = f"`merge.method` is `{config.method}`, which scores merges on the domain of each model"
    if set(learners) != set(context.sources):
        raise ConfigError(
            f"{own}, but the models of the algorithm `{context.recipe.algorithm}` are not one for each source domain; "
            "choose another method, such as `uniform` or `greedy_soup`."
        )
    if len(learners) < 2 and merge_options(config)["by"] == "leave_one_out":
        raise ConfigError(f"{own} that it leaves out, but there is one source domain; choose another method.")


def _settings(config: MergeConfig, evidence: SourceEvidence | None = None) -> MergeSettings:
    return MergeSettings(evidence=evidence, buffers=config.buffers)


def merge_histories(
    context: Context,
    config: MergeConfig,
    trained: Sequence[StepFiles],
    kept: Kept | None = None,
    mixed: bool = False,
) -> StepResult:
    """Merge what the learners of earlier steps left, into `merged.safetensors` of the current one.

    Args:
        context: The current step.
        config: The method and its options.
        trained: The files of the steps that trained them.
        kept: Says what the merge kept of each learner.
        mixed: Whether learners have seen other source domains than their own.
    """
    base, options, found = context.base(), merge_options(config), joined(files.history() for files in trained)
    with opened_domains() as opened:
        evidence = _evidence(context, config, trained, found.history)
        settings = _settings(config, evidence)
        merged = merge_with(config.method, found.history, base, options, settings)
    context.files.save("merged", merged)
    start = digests(context.run, [context.run.base]).get(context.run.base.name)
    origin = Provenance(
        config.method,
        options,
        found.origins,
        start,
        settings=resolved_settings(settings),
        versions=library_versions(),
    )
    facts = describe_merge(config, base, found.history, merged)
    facts["target_data"] = any(name in opened for name in context.targets)
    if evidence is not None and evidence.search is not None:
        leaves_out = evidence.search.by == "leave_one_out"
        seen_labels = leaves_out and context.recipe.model.learns_text_head
        leaks = [LEAKING] if mixed and leaves_out else []
        leaks += shared_drawings(context.recipe.benchmark, context.sources)
        facts["search"] = search_facts(evidence.search, leaks, seen_labels=seen_labels)
    if kept:
        facts["kept"] = kept(base, found.history, config)
    _say(context, facts)
    figures = merge_figures(facts, list(context.network().layers()))
    return StepResult({"merge": facts, "provenance": origin.metadata()}, figures)


def _evidence(
    context: Context, config: MergeConfig, trained: Sequence[StepFiles], history: Mapping[str, Weights]
) -> SourceEvidence | None:
    """Return what answers the merge method's questions, if it has any."""
    info = method_of(config)
    if not info.needs:
        return None
    own: dict[str, list[str]] = {}
    for files in trained:
        own |= cast("dict[str, list[str]]", files.read()["facts"]["learners"])
    return (TargetEvidence if info.target else SourceEvidence)(context, history, own, config.examples)


def describe_merge(
    config: MergeConfig, base: Weights, history: Mapping[str, Weights], merged: Mapping[str, Tensor]
) -> MergeFacts:
    """Return how far the histories went, how they lie to each other, and how far the merged model went.

    Args:
        config: How they were merged.
        base: What they started from.
        history: What was merged.
        merged: The result.
    """
    vectors = task_vectors(history, base)
    return {
        "method": config.method,
        "options": merge_options(config),
        "norms": norms(vectors),
        "cosines": pairwise_cosines(vectors, layer_of),
        "kept": {},
        "merged_norm": norm(task_vectors({"merged": merged}, base)["merged"]),
        "mean_norm": norm(mean_vector(vectors)),
    }


def _say(context: Context, facts: MergeFacts) -> None:
    options = ", ".join(f"{name} {value}" for name, value in facts.get("options", {}).items())
    console.note(f"method {facts.get('method')}" + (f": {options}" if options else ""))
    if facts.get("target_data"):
        console.note(f"{NOTE}: images of {', '.join(context.targets)}, which is not domain generalization")
    if "search" in facts:
        console.note(search_note(facts["search"]))
    lengths = ", ".join(f"{name} {value:.2f}" for name, value in facts["norms"].items())
    console.note(f"norms of the histories: {lengths}; of the merged model: {facts['merged_norm']:.2f}")
