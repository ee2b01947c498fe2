"""The settings of MMD."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range


@dataclass(frozen=True)
class MmdSettings(AlgorithmSettings):
    """Pooled fine-tuning with a penalty on the discrepancy of features between source domains.

    Args:
        weight: Weight of the penalty.
    """

    code: ClassVar[str] = "hamdg.algorithms.mmd:Mmd"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    takes_activations: ClassVar[bool] = True
    weight: Annotated[float, Range(0)] = 1.0
