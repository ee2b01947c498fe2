"""The runs that a run is compared with in its own table."""

from __future__ import annotations

from dataclasses import replace

from hamdg.config.algorithms import find
from hamdg.config.recipe import HistoryConfig, Recipe, TrainConfig

CONTROL = "erm"


def controls_of(recipe: Recipe) -> list[Recipe]:
    """Return the runs that the recipe's `controls` ask for: pooled fine-tuning with the same data, model and steps.

    All variants of a run share their controls: what only one algorithm has is not part of another's identity.
    """
    return [joint_training(recipe)] if recipe.controls.erm else []


def joint_training(recipe: Recipe) -> Recipe:
    """Return the run of pooled fine-tuning with a running average (ERM + SMA) on the same data, model and steps.

    Sections that the recipe's algorithm does not read are at their defaults: what defines no run changes no control.
    """
    uses = recipe.settings.uses
    train = recipe.train if "train" in uses else TrainConfig()
    train = replace(train, lr=recipe.controls.erm_lr or train.lr)
    history = recipe.history if "history" in uses else HistoryConfig()
    history = HistoryConfig(kind="mean", start=history.start, every=history.every)
    # Rows are those of the recipe's algorithm.
    measured = replace(recipe.evaluate, rows=None)
    own = replace(recipe, algorithm=CONTROL, settings=find(CONTROL)(), label="", train=train, history=history)
    return replace(own, evaluate=measured)
