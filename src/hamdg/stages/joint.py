"""Pooled fine-tuning with a running average, the control of many runs, as a step of another algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from hamdg.algorithms.base import Origin, Step, StepResult
from hamdg.cohort.learner import Learner
from hamdg.config.controls import joint_training
from hamdg.config.recipe import Recipe
from hamdg.stages.context import Context
from hamdg.stages.fit import check_split, fit, trained
from hamdg.stages.pooled import POOLED

JOINT = "joint"
LABEL = "ERM + SMA"


def joint_step(recipe: Recipe) -> Step:
    """Return the step that does what the training of the recipe's control does, or takes it from a run of that.

    Its one learner is called `POOLED`, and its history is the running average.

    Args:
        recipe: The recipe, with all its sections.
    """
    control = joint_training(recipe)

    def learners(context: Context) -> Mapping[str, Learner]:
        return {POOLED: Learner(context.network(), context.sources, control.train, context.task)}

    def run(context: Context) -> StepResult:
        return trained(context, fit(context, learners(context), history=control.history))

    def check(context: Context) -> None:
        check_split(context, lambda: learners(context))

    sections = frozenset({"train", "history"})
    return Step(JOINT, run, sections=sections, check=check, learners=[POOLED], origin=Origin(control, "train"))
