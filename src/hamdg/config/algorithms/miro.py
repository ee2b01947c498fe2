"""The settings of MIRO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range, Words

Layers = Annotated[list[str], Words("a list of layers, such as `[layer1, layer4]`")]


@dataclass(frozen=True)
class MiroSettings(AlgorithmSettings):
    """Pooled fine-tuning with a penalty on how far features inside the network move from those of the pretrained one.

    Args:
        weight: Weight of the penalty (the paper's lambda).
        layers: Names of the layers whose outputs are compared; `null` for the stem and the stages of a ResNet, or the
            patch embedding and the last block of each quarter of a vision transformer.
        lr_factor: The learning rate of the variances, in units of `train.lr`.
    """

    code: ClassVar[str] = "hamdg.algorithms.miro:Miro"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    weight: Annotated[float, Range(0)] = 1.0
    layers: Layers | None = None
    lr_factor: Annotated[float, Range(0, above=True)] = 10.0
