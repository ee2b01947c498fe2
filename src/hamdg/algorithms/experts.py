"""Source models alone, each fine-tuned on its own domain, and any merge of them."""

from collections.abc import Mapping, Sequence

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.stages.context import Context
from hamdg.stages.entries import source_entries, start_entries
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
        """Return the start, the source models, and their merge."""
        network, merged = context.network(), context.step("merge").load("merged")
        sources = source_entries(network, context.step("train").history().last)
        return [*start_entries(context, network), *sources, Entry("experts", self.label, "merged", network, merged)]


def _learners(context: Context) -> Mapping[str, Learner]:
    return {name: Learner(context.network(), (name,), context.recipe.train, context.task) for name in context.sources}
