"""The settings of experts: there are none beside the shared sections."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings


@dataclass(frozen=True)
class ExpertsSettings(AlgorithmSettings):
    """One model per source domain, trained alone, and merged by any method."""

    code: ClassVar[str] = "hamdg.algorithms.experts:Experts"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
