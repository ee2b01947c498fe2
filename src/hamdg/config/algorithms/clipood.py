"""The settings of CLIPood."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range


@dataclass(frozen=True)
class ClipoodSettings(AlgorithmSettings):
    """Pooled fine-tuning with a margin that grows with the distance of texts; its average is `history.kind: beta`.

    Args:
        margin: How much of its own class's feature is taken off each image feature before the scores are computed.
    """

    code: ClassVar[str] = "hamdg.algorithms.clipood:Clipood"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    margin: Annotated[float, Range(0)] = 0.3
