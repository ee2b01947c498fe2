"""Source models alone, each fine-tuned on its own domain, any merge of them, and their ensemble."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.experts import ExpertsSettings
from hamdg.stages.context import Context
from hamdg.stages.entries import ENSEMBLE, ensemble_entry, source_entries, start_entries
from hamdg.stages.fit import train_step
from hamdg.stages.merging import merge_step, sources_of


class Experts(Algorithm):
    """One model per source domain, none of which knows of the others; the recipe's `merge` makes one of them."""

    name, source_rows = "experts", True

    @property
    def label(self) -> str:
        """How tables call the result."""
        return f"experts, merged by {self.recipe.merge.method}"

    def steps(self) -> Sequence[Step]:
        """Return the training of all source models, and the merge of their histories."""
        sources = sources_of(self.recipe)
        return [train_step(_learners, names=sources), merge_step(sources, self.recipe.merge)]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the source models, their ensemble where the recipe asks for it, and their merge."""
        network, merged = context.network(), context.step("merge").load("merged")
        found, mean = context.step("train").history(), self._ensemble
        together = [] if mean == "none" else [ensemble_entry(context, found.last.values(), f"ensemble, {mean}", mean)]
        result = Entry(self.name, self.label, "merged", network, merged)
        return [*start_entries(context, network), *source_entries(network, found.last), *together, result]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        *first, own = super().keys(sources)
        return (*first, *(() if self._ensemble == "none" else (ENSEMBLE,)), own)

    @property
    def _ensemble(self) -> Literal["none", "logits", "probabilities"]:
        return cast("ExpertsSettings", self.recipe.settings).ensemble


def _learners(context: Context) -> Mapping[str, Learner]:
    return {name: Learner(context.network(), (name,), context.recipe.train, context.task) for name in context.sources}
