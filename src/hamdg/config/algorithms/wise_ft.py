"""The settings of WiSE-FT."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Fraction


@dataclass(frozen=True)
class WiseFtSettings(AlgorithmSettings):
    """Pooled fine-tuning, and the interpolation of its weights with those that it started from.

    Args:
        alpha: How far the result goes from the start (0) to the fine-tuned model (1); `null` chooses it from 0, 0.1,
            ..., 1 by the accuracy on the sources' hold-out sets.
    """

    code: ClassVar[str] = "hamdg.algorithms.wise_ft:WiseFt"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    takes_activations: ClassVar[bool] = True
    alpha: Fraction | None = None
