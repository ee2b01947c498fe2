"""Pooled fine-tuning on all source domains (ERM), and the running average of its weights (SMA)."""

from __future__ import annotations

from dataclasses import replace

from hamdg.algorithms.base import AlgorithmPlan, Entry, Histories
from hamdg.config.algorithms.erm import ErmSettings
from hamdg.config.recipe import HistoryConfig, Recipe

POOLED = "pooled"


def control_of(recipe: Recipe) -> Recipe:
    """Return the ERM run that a run is compared with: same data, model, steps and images, one pooled model.

    All variants of a run share their control: what only HAM has is no part of an ERM run's identity.
    """
    train = replace(recipe.train, lr=recipe.controls.erm_lr or recipe.train.lr)
    history = HistoryConfig(kind="mean", start=recipe.history.start, every=recipe.history.every)
    return replace(recipe, algorithm="erm", settings=ErmSettings(), label="", train=train, history=history)


def _candidates(found: Histories) -> list[Entry]:
    return [
        Entry("zero_shot", found.start, "control", found.base),
        Entry("erm", "ERM (pooled)", "control", found.last[POOLED], "same images as HAM"),
        Entry("erm_sma", "ERM + SMA", "control", found.merged, "same images as HAM"),
    ]


PLAN = AlgorithmPlan(
    label="ERM + SMA",
    result="erm_sma",
    groups=lambda sources: {POOLED: sources},
    candidates=_candidates,
    rows=lambda sources: ("zero_shot", "erm", "erm_sma"),
    merges=False,
)
