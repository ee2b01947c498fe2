"""The settings of zero-shot classification: there are none; `model.prompts` has the prompts."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings


@dataclass(frozen=True)
class ZeroShotSettings(AlgorithmSettings):
    """The pretrained model as it is, with the features of the prompts; nothing is trained."""

    code: ClassVar[str] = "hamdg.algorithms.zero_shot:ZeroShot"
    uses: ClassVar[tuple[str, ...]] = ()
    takes_activations: ClassVar[bool] = True
