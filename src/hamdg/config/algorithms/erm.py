"""The settings of pooled fine-tuning (ERM): it has none of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings


@dataclass(frozen=True)
class ErmSettings(AlgorithmSettings):
    """Pooled fine-tuning on all source domains (ERM), and the running average of its weights (SMA)."""

    code: ClassVar[str] = "hamdg.algorithms.erm:Erm"
    uses: ClassVar[tuple[str, ...]] = ("train", "history")
    takes_activations: ClassVar[bool] = True
