"""Pooled fine-tuning on all source domains (ERM), and the running average of its weights (SMA)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.config.recipe import MergeConfig
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import train_step
from hamdg.stages.merging import merge_step
from hamdg.stages.pooled import POOLED


class Erm(Algorithm):
    """One model learns from all source domains; its result is the average of its history."""

    name: ClassVar[str] = "erm"
    title: ClassVar[str] = "ERM + SMA"

    def steps(self) -> Sequence[Step]:
        """Return the training, and the average of the snapshots or the one average that it kept."""
        return [
            train_step(self._learners, names=[POOLED]),
            merge_step([POOLED], MergeConfig(method="uniform"), section=False),
        ]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the last model and the average."""
        network, last = context.network(), context.step("train").history().last[POOLED]
        return [
            *start_entries(context, network),
            Entry("erm", "ERM (pooled)", "control", network, last),
            Entry("erm_sma", self.label, "control", network, context.step("merge").load("merged")),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, "erm", "erm_sma")

    def _learners(self, context: Context) -> Mapping[str, Learner]:
        return {POOLED: Learner(context.network(), context.sources, context.recipe.train, context.task)}
