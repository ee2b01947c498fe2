"""Source models that learn alone, any merge of them, their ensemble, a mix with joint training."""

from collections.abc import Mapping, Sequence
from typing import cast

from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.experts import ExpertsSettings
from hamdg.merge import MergeSettings, merge_with
from hamdg.merge.files import Provenance
from hamdg.merge.files.provenance import resolved_settings
from hamdg.runs.manifest import digests
from hamdg.runs.versions import library_versions
from hamdg.stages.context import Context
from hamdg.stages.entries import ENSEMBLE, ensemble_entry, source_entries, start_entries
from hamdg.stages.fit import train_step
from hamdg.stages.joint import JOINT, LABEL, joint_step
from hamdg.stages.merging import merge_step, sources_of
from hamdg.stages.pooled import POOLED

MERGED, MIX = "merged", "mix"
# What goes between two models: (1 - alpha) base + alpha model.
_BETWEEN = "wise_ft"


class Experts(Algorithm):
    """One model per source domain, none of which knows of the others; the recipe's `merge` makes one of them."""

    name, source_rows = "experts", True

    @property
    def label(self) -> str:
        """How tables call the result."""
        share = self._settings.joint_share
        return self._merge_label if share is None else f"{share:.0%} {LABEL}, {1 - share:.0%} {self._merge_label}"

    def steps(self) -> Sequence[Step]:
        """Return the training of all source models, the merge of their histories, and joint training with its mix."""
        sources = sources_of(self.recipe)
        own = [train_step(_learners, names=sources), merge_step(sources, self.recipe.merge)]
        if self._settings.joint_share is None:
            return own
        # It follows from the merge, too, so a change of that changes it.
        mix = Step(MIX, _mix, reads=frozenset(), sections=frozenset({self.name, "merge"}))
        return [*own, joint_step(self.recipe), mix]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the source models, their ensemble where the recipe asks for it, and their merge."""
        network, merged = context.network(), context.step("merge").load("merged")
        found, mean = context.step("train").history(), self._settings.ensemble
        rows = [*start_entries(context, network), *source_entries(network, found.last)]
        if mean != "none":
            rows.append(ensemble_entry(context, found.last.values(), f"ensemble, {mean}", mean))
        if self._settings.joint_share is not None:
            joint = context.step(JOINT).history().history[POOLED]
            rows.append(Entry(JOINT, LABEL, "control", network, joint))
            rows.append(Entry(MERGED, self._merge_label, "merged", network, merged))
            merged = context.step(MIX).load("merged")
        return [*rows, Entry(self.name, self.label, "merged", network, merged)]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        *first, own = super().keys(sources)
        together = () if self._settings.ensemble == "none" else (ENSEMBLE,)
        return (*first, *together, *(() if self._settings.joint_share is None else (JOINT, MERGED)), own)

    @property
    def _settings(self) -> ExpertsSettings:
        return cast("ExpertsSettings", self.recipe.settings)

    @property
    def _merge_label(self) -> str:
        return f"experts, merged by {self.recipe.merge.method}"


def _learners(context: Context) -> Mapping[str, Learner]:
    return {name: Learner(context.network(), (name,), context.recipe.train, context.task) for name in context.sources}


def _mix(context: Context) -> StepResult:
    """Go from the experts' merge to the jointly trained average, as far as the recipe says."""
    options = {"alpha": context.settings(ExpertsSettings).joint_share}
    settings = MergeSettings(buffers=context.recipe.merge.buffers)
    merge, joint = context.step("merge"), context.step(JOINT).history()
    mixed = merge_with(_BETWEEN, {POOLED: joint.history[POOLED]}, merge.load("merged"), options, settings)
    context.files.save("merged", mixed)
    (start,) = digests(context.run, [merge.folder / "merged.safetensors"]).values()
    origin = Provenance(
        _BETWEEN,
        options,
        joint.origins,
        start,
        settings=resolved_settings(settings),
        versions=library_versions(),
    )
    return StepResult({"provenance": origin.metadata()})
