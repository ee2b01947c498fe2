"""Training-free merging for several targets: adapt one source model to each without labels, and merge the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar, cast

from torch import Tensor

from hamdg.algorithms.base import SOURCE as MODEL
from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.algorithms.mtda import training
from hamdg.algorithms.mtda.merging import BUFFERS, Buffers, between_and_within, merge_targets, with_head
from hamdg.algorithms.mtda.models import (
    MERGE,
    MERGED,
    REESTIMATE,
    models_of,
    names_of,
    reestimate_step,
    unlabeled_batches,
)
from hamdg.algorithms.mtda.training import ADAPT, APART, MIXED, READAPT, SOURCE, STARTS, UNION
from hamdg.config.algorithms.mtda import MtdaSettings
from hamdg.config.recipe import MergeConfig, Recipe
from hamdg.data.resolve import benchmark_of
from hamdg.merge import MergeSettings
from hamdg.merge.files import Provenance
from hamdg.merge.files.provenance import resolved_settings
from hamdg.models.batchnorm import reestimated
from hamdg.models.network import Network, Weights
from hamdg.runs.figures import Figure, bars
from hamdg.runs.manifest import digests
from hamdg.runs.merge_figures import merge_figures
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.entries import ENSEMBLE, ensemble_entry, start_entries
from hamdg.stages.merging import describe_merge

FOOTNOTE = (
    "MTDA merge: the merge is the paper's (arXiv:2407.13771); what it merges is adapted by a plain mean teacher, where "
    "the paper has HRDA."
)
SHARED, SEPARATE, AGAIN = "merged_shared", "merged_separate", "reestimated/"
ENSEMBLE_LABEL = "ensemble of the adapted models"
_STATISTICS: Mapping[Buffers, str] = {"first": "the first's", "mean": "mean of", "moments": "pooled"}


class Mtda(Algorithm):
    """One source model, adapted to each target, and merged without data: a mean of weights, a mixture of statistics."""

    name: ClassVar[str] = "mtda"
    title: ClassVar[str] = "MTDA merge"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.targets = benchmark_of(recipe).targets(recipe.held_out)
        # What lines between models are measured with, made once.
        self._on_line: tuple[Network, list[Tensor]] | None = None

    @property
    def settings(self) -> MtdaSettings:
        """The recipe's own section."""
        return cast("MtdaSettings", self.recipe.settings)

    @property
    def label(self) -> str:
        """How tables call the result."""
        return f"{self.title}, separate heads" if self._separate else self.title

    @property
    def footnote(self) -> str:
        """What differs from the paper."""
        return FOOTNOTE

    def steps(self) -> Sequence[Step]:
        """Return source model and adaptation, what the merge is compared with, and the merge.

        A step depends on all before it, so that the merge comes after whatever trains: another one trains nothing.
        """
        settings, targets = self.settings, self.targets
        found = [
            training.source_step(),
            training.adapt_step(settings, targets),
        ]
        if settings.compare.union:
            found.append(training.union_step(settings, targets))
        if settings.compare.starts:
            found += [
                training.starts_step(targets),
                training.adapt_step(settings, targets[1:], READAPT, STARTS),
            ]
        found.append(Step(MERGE, _merge, reads=frozenset(), sections=frozenset({"mtda.merge"})))
        return [*found, reestimate_step()] if settings.reestimate.images else found

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of the rows."""
        names = names_of(self.targets, self.settings.compare)[:-1]
        again = [*names, ENSEMBLE, MERGED, *([SEPARATE] if self._has_head else [])] if self._measures_again else []
        own = [f"merged_{one}" for one in BUFFERS if one != self.settings.merge.buffers]
        heads = [SHARED if self._separate else SEPARATE] if self._has_head else []
        plain = [*map(_row_key, names), ENSEMBLE, *own, *heads]
        return (*self.start_keys, *plain, *(f"{AGAIN}{_row_key(name)}" for name in again), self.name)

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the source model, the adapted ones, comparisons, all of these with equal statistics, and the merge."""
        settings, network = self.settings, context.network()
        models = models_of(context, settings.compare, settings.merge.buffers)
        adapted = {name: models[f"{ADAPT}/{name}"] for name in self.targets}
        merged = models.pop(MERGED)
        found = [*start_entries(context, network), *(_entry(name, network, own) for name, own in models.items())]
        found.append(ensemble_entry(context, adapted.values(), ENSEMBLE_LABEL))
        for kind in BUFFERS:
            if kind != settings.merge.buffers:
                other = merge_targets(adapted, kind)
                label = f"merged, {_STATISTICS[kind]} statistics"
                # As the result in all else, its heads included.
                like = _separate(network, other, adapted) if self._separate else [_shared(network, other)]
                found += [one._replace(key=f"merged_{kind}", label=label) for one in like]
        shared = _shared(network, merged)
        separate = _separate(network, merged, adapted)
        if self._has_head:
            found += [shared] if self._separate else separate
        if self._measures_again:
            found += self._again(context, network, models | {MERGED: merged}, adapted)
        result = separate if self._separate else [shared]
        return [*found, *(one._replace(key=self.name, label=self.label, group="merged") for one in result)]

    @property
    def line_note(self) -> str:
        """What is done to the models on a line."""
        count = self.settings.reestimate.images
        text = "Statistics of BatchNorm are measured anew at each point, on {:,} unlabeled images of each target."
        return text.format(count) if self._measures_again else ""

    def line_pairs(self, context: Context, entries: Sequence[Entry]) -> Sequence[tuple[Entry, Entry]]:
        """Return the pairs of the paper's figure: models from one start lie in one valley, from two they do not."""
        adapted = [one for one in entries if one.group == "source"]
        pairs = list(combinations(adapted, 2))
        if self.settings.compare.starts:
            for name, weights in context.step(READAPT).history().last.items():
                pairs.append((adapted[0], adapted[0]._replace(key=f"{MODEL}{name}, another start", weights=weights)))
        return pairs

    def on_line(self, context: Context, weights: Weights) -> Weights:
        """Return a model with statistics of its own: those on the way from one model's to another's fit neither."""
        if self._on_line is None:
            batches = unlabeled_batches(context, self.settings.reestimate.images)
            self._on_line = context.network().to(context.device), batches
        return {**weights, **reestimated(self._on_line[0], weights, self._on_line[1])}

    @property
    def _separate(self) -> bool:
        return self.settings.merge.heads == "separate"

    @property
    def _has_head(self) -> bool:
        # Class features of a CLIP are not trained, so that there is nothing to keep apart.
        return self.recipe.model.trains_head

    @property
    def _measures_again(self) -> bool:
        return self.settings.reestimate.images > 0

    def _again(
        self, context: Context, network: Network, models: Mapping[str, Weights], adapted: Mapping[str, Weights]
    ) -> list[Entry]:
        """Return the same models with statistics that were measured on the same images."""
        files = context.step(REESTIMATE)
        own = {name: {**weights, **files.load(name)} for name, weights in models.items()}
        merged = own.pop(MERGED)
        found = [_entry(name, network, weights) for name, weights in own.items()]
        found.append(ensemble_entry(context, [own[f"{ADAPT}/{name}"] for name in adapted], ENSEMBLE_LABEL))
        found.append(Entry(MERGED, "merged", "control", network, merged))
        found += _separate(network, merged, adapted) if self._has_head else []
        note = f"needs data: statistics from {self.settings.reestimate.images} images a target"
        return [
            one._replace(key=f"{AGAIN}{one.key}", label=f"{one.label}, re-estimated", group="control", note=note)
            for one in found
        ]


def _row_key(name: str) -> str:
    """Return the key of the row of a model: of an adapted one, `source/<target>`, as those that a merge is made of."""
    names = {SOURCE: "source_model", f"{UNION}/{MIXED}": "union_mixed", f"{UNION}/{APART}": "union_apart"}
    return names.get(name, name.replace(f"{ADAPT}/", MODEL))


def _entry(name: str, network: Network, weights: Weights) -> Entry:
    labels = {
        SOURCE: "source model",
        f"{UNION}/{MIXED}": "one model for all targets, batches mixed",
        f"{UNION}/{APART}": "one model for all targets, a batch a target",
        STARTS: "merged, from different starts",
    }
    adapted = name.startswith(f"{ADAPT}/")
    label = f"adapted to {name.partition('/')[2]}" if adapted else labels[name]
    return Entry(_row_key(name), label, "source" if adapted else "control", network, weights)


def _shared(network: Network, merged: Weights) -> Entry:
    return Entry(SHARED, "merged, head included", "control", network, merged)


def _separate(network: Network, merged: Weights, adapted: Mapping[str, Weights]) -> list[Entry]:
    """Return the merged model with each target's own head, which are one row."""
    prefix, label = network.head_prefix, "merged, each target's own head"
    return [
        Entry(SEPARATE, label, "control", network, with_head(merged, own, prefix), only=(name,))
        for name, own in adapted.items()
    ]


def _merge(context: Context) -> StepResult:
    config = MergeConfig(method="uniform", buffers=context.settings(MtdaSettings).merge.buffers)
    found, source = context.step(ADAPT).history(), context.step(SOURCE).history().last[SOURCE]
    merged = merge_targets(found.last, cast("Buffers", config.buffers))
    context.files.save(MERGED, merged)
    start = digests(context.run, [context.run.base]).get(context.run.base.name)
    settings = resolved_settings(MergeSettings(buffers=config.buffers))
    origin = Provenance(config.method, {}, found.origins, start, settings=settings, versions=library_versions())
    facts = describe_merge(config, source, found.last, merged)
    ratios = between_and_within(found.last)
    figures: list[Figure] = [
        *merge_figures(facts, list(context.network().layers())),
        bars(
            "Variance between the models' means, over that within",
            ratios,
            note="Pooled statistics differ from averaged ones where this is large.",
        ),
    ]
    own: dict[str, object] = {"merge": facts, "between_and_within": ratios}
    return StepResult({**own, "provenance": origin.metadata()}, figures)
