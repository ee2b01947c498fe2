"""Algorithms of one model that learns from all sources at once: what they share beside their learner."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import train_step

# The name of the one learner, and so of its history.
POOLED = "pooled"


class Pooled(Algorithm):
    """One learner on all sources; the result is what the recipe's `history` keeps of it, such as the last model."""

    @abstractmethod
    def learner(self, context: Context) -> Learner:
        """Return the learner, which learns from `context.sources`."""

    def steps(self) -> Sequence[Step]:
        """Return the one step, which trains."""
        return [train_step(self._learners, sections=[self.name], names=[POOLED])]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start and the result."""
        network, found = context.network(), context.step("train").history()
        return [
            *start_entries(context, network),
            Entry(self.name, self.label, "merged", network, found.history[POOLED]),
        ]

    def _learners(self, context: Context) -> Mapping[str, Learner]:
        return {POOLED: self.learner(context)}
