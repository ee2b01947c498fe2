"""LP-FT (https://arxiv.org/abs/2202.10054): fine-tuning that starts from a linear probe of the frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamdg.algorithms.base import Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.lp_ft import LpFtSettings
from hamdg.data.benchmark import TaskName
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.features import features_step
from hamdg.stages.pooled import POOLED, Pooled
from hamdg.stages.probe import PROBE_ROW, probe_step, probed_network


class LpFt(Pooled):
    """A linear layer is fitted to frozen features, and then trained along with the encoder on all source domains."""

    name: ClassVar[str] = "lp_ft"
    title: ClassVar[str] = "LP-FT"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the features, the fit, and the training."""
        probe = probe_step(lambda context: context.settings(LpFtSettings).probe, f"{self.name}.probe")
        return [features_step(), probe, *super().steps()]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the probe that the training begins with, and the result."""
        network, found = probed_network(context), context.step("train").history()
        return [
            *start_entries(context, context.network()),
            Entry(PROBE_ROW, "linear probe", "control", network, {}),
            Entry(self.name, self.label, "merged", network, found.history[POOLED]),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, PROBE_ROW, self.name)

    def learner(self, context: Context) -> Learner:
        """Return the learner, whose network has the probe as its linear layer."""
        return Learner(probed_network(context), context.sources, context.recipe.train)
