"""The settings of experts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings


@dataclass(frozen=True)
class ExpertsSettings(AlgorithmSettings):
    """One model per source domain, trained alone, and merged by any method.

    Args:
        ensemble: Adds a row of all source models at once, which costs a forward pass for each of them: the mean of
            their `logits`, or of their `probabilities`; `none` for no such row.
    """

    code: ClassVar[str] = "hamdg.algorithms.experts:Experts"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
    takes_activations: ClassVar[bool] = True
    added: ClassVar[Mapping[str, object]] = {"ensemble": "none"}
    ensemble: Literal["none", "logits", "probabilities"] = "none"
