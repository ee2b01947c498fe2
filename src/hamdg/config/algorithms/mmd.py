"""The settings of MMD."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings


@dataclass(frozen=True)
class MmdSettings(AlgorithmSettings):
    """Pooled fine-tuning with a penalty on the discrepancy of features between source domains.

    Args:
        weight: Weight of the penalty.
    """

    code: ClassVar[str] = "hamdg.algorithms.mmd:Mmd"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    weight: float = 1.0
