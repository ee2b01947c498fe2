"""HAM: one model per source domain, enriched, harmonized, and merged with its history (a reconstruction)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.algorithms.ham import labels
from hamdg.algorithms.ham.harmonizer import Harmonizer
from hamdg.algorithms.ham.learner import HamLearner, kept_samples
from hamdg.algorithms.ham.report import describe_rule, enrichment_counts, say_counts, write_samples
from hamdg.algorithms.ham.sample_log import MOMENTS, PER_KIND
from hamdg.cohort.learner import check_whole
from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.merge_section import merge_options
from hamdg.config.recipe import MergeConfig
from hamdg.data.benchmark import TaskName
from hamdg.merge import ModelSet, merge
from hamdg.merge.buffers import is_buffer
from hamdg.merge.geometry import norms, task_vectors
from hamdg.merge.methods.rhm import Criterion, Scope, Trimming, kept_fractions
from hamdg.models.layers import layer_of
from hamdg.models.network import Weights
from hamdg.runs.figures import direction_figures
from hamdg.runs.selection import selection_figures
from hamdg.stages.context import Context
from hamdg.stages.entries import source_entries, start_entries
from hamdg.stages.fit import fit, trained
from hamdg.stages.merging import merge_step, sources_of
from hamdg.stages.target_evidence import NOTE


class Ham(Algorithm):
    """Source models with enrichment and harmonization, whose histories any merge method fuses; `rhm` is HAM's own."""

    name: ClassVar[str] = "ham"
    source_rows: ClassVar[bool] = True
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    @property
    def label(self) -> str:
        """How tables call the result."""
        return labels.result_label(self.recipe.merge.method)

    @property
    def footnote(self) -> str:
        """What is published, and what is our reconstruction."""
        settings = cast("HamSettings", self.recipe.settings)
        return labels.footnote(self.recipe.merge.method, settings.enrichment.confidence)

    def steps(self) -> Sequence[Step]:
        """Return the training of all source models, and the merge of their histories."""
        own, sources = self.recipe.merge.method == labels.OWN, sources_of(self.recipe)
        settings = cast("HamSettings", self.recipe.settings)
        sections = frozenset({"train", "history", "ham"})
        shown = 2 * MOMENTS * PER_KIND if settings.enrichment.enabled else 0
        return [
            Step("train", self._train, sections=sections, check=_check_parts, examples=shown, learners=sources),
            merge_step(sources, self.recipe.merge, kept=_kept if own else None, mixed=self.mixes_sources),
        ]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the source models, simple averages, and HAM's result."""
        found, merged = context.step("train").history(), context.step("merge").load("merged")
        facts = cast("Mapping[str, object]", context.step("merge").read()["facts"]["merge"])
        network, base, method = context.network(), context.base(), self.recipe.merge.method
        norm, buffers = norms(task_vectors({"merged": merged}, base))["merged"], self.recipe.merge.buffers
        shrunk = merge("shrunk", found.history, base=base, buffers=buffers, norm=norm)
        averages = {
            "uniform_last": ("uniform average, last models", merge("uniform", found.last, buffers=buffers)),
            "uniform_history": ("uniform average, histories", merge("uniform", found.history, buffers=buffers)),
            "shrunk": (labels.scaled_label(method), shrunk),
        }
        return [
            *start_entries(context, network),
            *source_entries(network, found.last),
            *(Entry(key, label, "control", network, weights) for key, (label, weights) in averages.items()),
            Entry("ham", self.label, "merged", network, merged, NOTE if facts["target_data"] else ""),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        *first, own = super().keys(sources)
        return (*first, "uniform_last", "uniform_history", "shrunk", own)

    @property
    def mixes_sources(self) -> bool:
        """Whether a source model has learned from samples of other domains, or with other models."""
        settings = cast("HamSettings", self.recipe.settings)
        return settings.enrichment.enabled or settings.harmonization.method != "none"

    def _train(self, context: Context) -> StepResult:
        settings = context.settings(HamSettings)
        domains = context.data(context.sources)
        noise_known = any(bool((one.labels != one.clean_labels).any()) for one in domains.values())
        learners = {name: _learner(context, name, noise_known) for name in context.sources}
        seed = context.recipe.seed
        # Statistics of BatchNorm have no gradients to bring together.
        start = {name: tensor for name, tensor in context.base().items() if not is_buffer(name, tensor)}
        harmonizer = Harmonizer(settings.harmonization, start, len(learners), layer_of, seed)
        cohort = fit(context, learners, couplings=[harmonizer], domains=domains)
        own = trained(context, cohort)
        samples = write_samples(context, domains, kept_samples(cohort.learners.values()))
        counts = enrichment_counts(context.files.metrics)
        say_counts(counts)
        if not counts:
            return own._replace(figures=direction_figures())
        seen = own.images_seen + sum(one["added"] for one in counts.values())
        note = f"{describe_rule(settings.enrichment)} With the accepted images the models saw {seen:,} images."
        figures = selection_figures(counts, "enrichment", note=note, samples=samples)
        return StepResult({**own.facts, "selection": counts}, [*figures, *direction_figures()], own.images_seen)


def _learner(context: Context, name: str, noise_known: bool) -> HamLearner:
    enrichment = context.settings(HamSettings).enrichment
    return HamLearner(name, context.network(), (name,), context.recipe.train, enrichment, noise_known)


def _check_parts(context: Context) -> None:
    first, count = context.sources[0], context.recipe.runtime.processes
    check_whole({first: _learner(context, first, noise_known=False)}, context.recipe.train.accumulate, count)


def _kept(base: Weights, history: Mapping[str, Weights], config: MergeConfig) -> dict[str, dict[str, float]]:
    """Return the share of coordinates that RHM kept of each source, by layer."""
    vectors = task_vectors(history, base)
    first = next(iter(vectors.values()))
    moved = tuple(name for name in first if any(bool(vector[name].any()) for vector in vectors.values()))
    options = merge_options(config)
    keep = cast("float", options["keep"])
    scope, criterion = cast("Scope", options["scope"]), cast("Criterion", options["criterion"])
    models = ModelSet(history, base, names=moved, changes=True)
    return kept_fractions(models, Trimming(models, keep, scope, criterion), layer_of)
