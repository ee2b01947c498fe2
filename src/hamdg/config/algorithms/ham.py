"""The settings of HAM: which samples join a model's batch, and how the models' directions are brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Fraction
from hamdg.values import Range

Confidence = Literal["true_class", "max_probability", "random"]
Combine = Literal["mean", "sum"]
HarmonizationMethod = Literal["none", "cosine", "l2", "sign_consensus", "pcgrad", "project"]
HarmonizationScope = Literal["global", "layer"]


@dataclass(frozen=True)
class EnrichmentConfig:
    """SAE: which samples of the other source domains join a model's batch.

    Args:
        enabled: Off: every model sees its own domain only.
        confidence: `true_class` (probability of the label) or `max_probability`. `random` is a control: of each other
            domain's batch, as many samples join as `true_class` would accept, but drawn at random by the seed.
        combine: `mean` (one mean over own and added samples) or `sum` (mean of own plus mean of added).
        start: First step with enrichment, as a fraction of all steps; before it every model sees its own domain only.
    """

    enabled: bool = True
    confidence: Confidence = "true_class"
    combine: Combine = "mean"
    start: Fraction = 0.0


@dataclass(frozen=True)
class HarmonizationConfig:
    """OPA: how the update directions of the models are brought together.

    Args:
        method: `none`, `cosine` and `l2` (penalties), `pcgrad` (gradients lose what conflicts, before the optimizer),
            `project` (updates lose what conflicts, after it, and get their length back), `sign_consensus` (updates).
        scope: One direction for the whole model (`global`) or one for each layer; `sign_consensus` works on
            each coordinate and ignores it.
        every: Harmonize every this many steps; updates are what has changed since.
        weight: Weight of the penalty (`cosine`, `l2`).
        minority_scale: What a minority-sign coordinate of an update is multiplied by (`sign_consensus`).
    """

    method: HarmonizationMethod = "l2"
    scope: HarmonizationScope = "global"
    every: Annotated[int, Range(1, 1_000_000)] = 1
    weight: Annotated[float, Range(0)] = 10.0
    minority_scale: Fraction = 0.0


@dataclass(frozen=True)
class HamSettings(AlgorithmSettings):
    """HAM: one model per source domain, enriched and harmonized, and merged with its history (a reconstruction).

    Args:
        enrichment: Which samples of the other source domains join a model's batch.
        harmonization: How the update directions of the models are brought together.
    """

    code: ClassVar[str] = "hamdg.algorithms.ham.algorithm:Ham"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
    added: ClassVar[Mapping[str, object]] = {"enrichment.start": 0.0}
    takes_activations: ClassVar[bool] = True
    enrichment: EnrichmentConfig = field(default_factory=EnrichmentConfig)
    harmonization: HarmonizationConfig = field(default_factory=HarmonizationConfig)
