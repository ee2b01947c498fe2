"""The settings of CORAL."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range


@dataclass(frozen=True)
class CoralSettings(AlgorithmSettings):
    """Pooled fine-tuning with a penalty on differences of mean and covariance of features between source domains.

    Args:
        weight: Weight of the penalty.
    """

    code: ClassVar[str] = "hamdg.algorithms.coral:Coral"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    takes_activations: ClassVar[bool] = True
    weight: Annotated[float, Range(0)] = 1.0
