"""Pooled fine-tuning on all source domains (ERM), and the running average of its weights (SMA)."""

from __future__ import annotations

from dataclasses import replace

from hamdg.algorithms.base import AlgorithmPlan, Candidate, Histories
from hamdg.config import (
    ControlsConfig,
    EnrichmentConfig,
    HarmonisationConfig,
    HistoryConfig,
    MergeConfig,
    Recipe,
)

POOLED = "pooled"


def control_of(recipe: Recipe) -> Recipe:
    """Return the ERM run that a run is compared with: same data, model, steps and images, one pooled model.

    Everything that ERM does not have is set to one fixed value, so that all variants of a run share their control.
    """
    train = replace(recipe.train, lr=recipe.controls.erm_lr or recipe.train.lr)
    return replace(
        recipe,
        algorithm="erm",
        label="",
        train=train,
        enrichment=EnrichmentConfig(enabled=False),
        harmonisation=HarmonisationConfig(method="none"),
        history=HistoryConfig(kind="mean", start=recipe.history.start, every=recipe.history.every),
        merge=MergeConfig(method="uniform"),
        controls=ControlsConfig(erm=False),
    )


def _candidates(found: Histories) -> list[Candidate]:
    return [
        Candidate("zero_shot", "zero-shot", "control", found.base),
        Candidate("erm", "ERM (pooled)", "control", found.last[POOLED], "same images as HAM"),
        Candidate("erm_sma", "ERM + SMA", "control", found.merged, "same images as HAM"),
    ]


PLAN = AlgorithmPlan(
    label="ERM + SMA",
    result="erm_sma",
    groups=lambda sources: {POOLED: sources},
    candidates=_candidates,
)
