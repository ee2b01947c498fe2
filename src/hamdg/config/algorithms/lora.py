"""The settings of CLIP-LoRA; the defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Projections, Rank, Share
from hamdg.values import Range


@dataclass(frozen=True)
class LoraSettings(AlgorithmSettings):
    """Pooled training of low-rank updates of the attention of CLIP's image tower, and of nothing else (CLIP-LoRA).

    Args:
        rank: Their rank, in all layers.
        projections: Which projections they adapt: queries (`q`), keys (`k`) and values (`v`).
        alpha: The updates are scaled by this over the root of their rank.
        dropout: Share of the input's entries that the updates do not see in training.
    """

    code: ClassVar[str] = "hamdg.algorithms.lora:Lora"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    rank: Rank = 2
    projections: Projections = field(default_factory=lambda: ["q", "k", "v"])
    alpha: Annotated[float, Range(0, above=True)] = 1.0
    dropout: Share = 0.25
