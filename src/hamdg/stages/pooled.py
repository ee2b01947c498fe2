"""Algorithms of one model that learns from all sources at once: what they share beside their learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.runs.figures import Figure
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import train_step

# The name of the one learner, and so of its history.
POOLED = "pooled"


class Pooled(Algorithm):
    """One learner on all sources; the result is what the recipe's `history` keeps of it, such as the last model.

    Attributes:
        last_row: Whether the model after the last step has a row, too, `<name>_last`: for methods with an average.
    """

    last_row: ClassVar[bool] = False

    def learner(self, context: Context) -> Learner:
        """Return the learner, which learns from `context.sources`; by default by plain fine-tuning."""
        return Learner(context.network(), context.sources, context.recipe.train, context.task)

    def check(self, context: Context) -> None:
        """Refuse what the algorithm cannot learn with, before anything trains; by default nothing."""

    def figures(self, learner: Learner) -> Sequence[Figure]:
        """Return what the page draws of the learner after training; by default nothing of its own."""
        return ()

    def steps(self) -> Sequence[Step]:
        """Return the one step, which trains."""
        sections, names = [self.name], [POOLED]
        return [train_step(self._learners, sections=sections, names=names, check=self.check, figures=self._figures)]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the last model where it has a row, and the result."""
        network, found = context.network(), context.step("train").history()
        last = Entry(f"{self.name}_last", f"{self.label}, last step", "control", network, found.last[POOLED])
        return [
            *start_entries(context, network),
            *([last] if self.last_row else []),
            Entry(self.name, self.label, "merged", network, found.history[POOLED]),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, *([f"{self.name}_last"] if self.last_row else []), self.name)

    def trained_parameters(self, context: Context) -> int:
        """Return how many numbers the optimizer changes: of adapters, theirs alone."""
        groups = self.learner(replace(context, unlearned=True)).parameter_groups()
        return sum(parameter.numel() for group in groups for parameter in group["params"])

    def _learners(self, context: Context) -> Mapping[str, Learner]:
        return {POOLED: self.learner(context)}

    def _figures(self, cohort: Cohort) -> Sequence[Figure]:
        return self.figures(cohort.learners[POOLED])
