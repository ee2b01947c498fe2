"""The settings of VL2V-SD."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Fraction


@dataclass(frozen=True)
class Vl2vSettings(AlgorithmSettings):
    """Pooled fine-tuning of a CLIP that stays near its own image features and moves to the text of its classes.

    Args:
        image_weight: Weight of the cosine with the frozen CLIP's feature of the same image (the paper's lambda); the
            cosine with the class's text feature has the rest.
    """

    code: ClassVar[str] = "hamdg.algorithms.vl2v:Vl2v"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    image_weight: Fraction = 0.5
