"""The settings of LP-FT."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.probe import ProbeConfig


@dataclass(frozen=True)
class LpFtSettings(AlgorithmSettings):
    """LP-FT: a linear probe of frozen features, and fine-tuning of encoder and linear layer from there.

    Args:
        probe: How the linear probe is fitted.
    """

    code: ClassVar[str] = "hamdg.algorithms.lp_ft:LpFt"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    takes_activations: ClassVar[bool] = True
    probe: ProbeConfig = field(default_factory=ProbeConfig)
