"""The settings of HAM: which samples join a model's batch, and how the models' directions are brought together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range

Confidence = Literal["true_class", "max_probability"]
Combine = Literal["mean", "sum"]
HarmonizationMethod = Literal["none", "cosine", "l2", "sign_consensus", "pcgrad"]
HarmonizationScope = Literal["global", "layer"]


@dataclass(frozen=True)
class EnrichmentConfig:
    """SAE: which samples of the other source domains join a model's batch.

    Args:
        enabled: Off: every model sees its own domain only.
        confidence: `true_class` (probability of the label) or `max_probability`.
        combine: `mean` (one mean over own and added samples) or `sum` (mean of own plus mean of added).
    """

    enabled: bool = True
    confidence: Confidence = "true_class"
    combine: Combine = "mean"


@dataclass(frozen=True)
class HarmonizationConfig:
    """OPA: how the update directions of the models are brought together.

    Args:
        method: `none`, `cosine` and `l2` (penalties), `pcgrad` (gradients), `sign_consensus` (updates).
        scope: One direction for the whole model (`global`) or one for each layer; `sign_consensus` works on
            each coordinate and ignores it.
        every: Harmonize every this many steps.
        weight: Weight of the penalty (`cosine`, `l2`).
        minority_scale: What a minority-sign coordinate of an update is multiplied by (`sign_consensus`).
    """

    method: HarmonizationMethod = "l2"
    scope: HarmonizationScope = "global"
    every: Annotated[int, Range(1, 1_000_000)] = 1
    weight: Annotated[float, Range(0)] = 10.0
    minority_scale: Annotated[float, Range(0, 1)] = 0.0


@dataclass(frozen=True)
class HamSettings(AlgorithmSettings):
    """HAM: one model per source domain, enriched and harmonized, and merged with its history (a reconstruction).

    Args:
        enrichment: Which samples of the other source domains join a model's batch.
        harmonization: How the update directions of the models are brought together.
    """

    code: ClassVar[str] = "hamdg.algorithms.ham.algorithm:Ham"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
    enrichment: EnrichmentConfig = field(default_factory=EnrichmentConfig)
    harmonization: HarmonizationConfig = field(default_factory=HarmonizationConfig)
