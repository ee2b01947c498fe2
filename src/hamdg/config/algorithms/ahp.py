"""The settings of AHP: what is adapted, and what the discrepancy between source domains teaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Projections, Rank, Share
from hamdg.values import Filled, Range

Positive = Annotated[float, Range(0, above=True)]


@dataclass(frozen=True)
class MmdConfig:
    """The discrepancy (MMD) between source domains, which is added to the loss.

    Args:
        weight: Its weight; with 0 it is not computed.
        to: What it teaches: the `gates`, the low-rank updates (`lora`), or `all` that is trained.
        of: Whose discrepancy: that of the class token behind each of the `layers`, of the image `features`, or `both`.
        reduction: Whether the discrepancies of layers and features count as their `mean` or their `sum`.
        gammas: Gaussian kernels `exp(-gamma |x - y|^2)` of vectors of length 1, which are added up.
    """

    weight: Annotated[float, Range(0)] = 1.0
    to: Literal["gates", "lora", "all"] = "gates"
    of: Literal["layers", "features", "both"] = "layers"
    reduction: Literal["mean", "sum"] = "mean"
    gammas: Annotated[list[Positive], Filled()] = field(
        default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    )


@dataclass(frozen=True)
class AhpSettings(AlgorithmSettings):
    """Attention head purification: low-rank updates of each head, and gates that favor heads alike in all domains.

    Args:
        lora: Low-rank updates of the projections: one for each head (`head_aware`), one for all heads (`shared`), or
            `none`.
        ranks: Their ranks in the last layers, up to the last one; all layers before have the first of them.
        projections: Which projections they adapt: queries (`q`), keys (`k`) and values (`v`).
        alpha: The updates are scaled by this over the root of their rank.
        dropout: Share of the input's entries that the updates do not see in training.
        gates: Whether every head has a gate.
        gate_std: Standard deviation of what the gates start from, drawn by the seed; with 0 they start at CLIP.
        gate_lr: Their peak learning rate; `null` for `train.lr`.
    """

    code: ClassVar[str] = "hamdg.algorithms.ahp.algorithm:Ahp"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    lora: Literal["head_aware", "shared", "none"] = "head_aware"
    ranks: Annotated[list[Rank], Filled()] = field(default_factory=lambda: [2, 8, 8])
    projections: Projections = field(default_factory=lambda: ["q", "v"])
    alpha: Positive = 1.0
    dropout: Share = 0.0
    gates: bool = True
    gate_std: Annotated[float, Range(0)] = 0.0
    gate_lr: Positive | None = None
    mmd: MmdConfig = field(default_factory=MmdConfig)
