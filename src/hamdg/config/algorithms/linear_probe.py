"""The settings of a linear probe."""

from dataclasses import dataclass
from typing import ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.probe import ProbeConfig


@dataclass(frozen=True)
class LinearProbeSettings(ProbeConfig, AlgorithmSettings):
    """A linear classifier of frozen features, fitted once by logistic regression."""

    code: ClassVar[str] = "hamdg.algorithms.linear_probe:LinearProbe"
    uses: ClassVar[tuple[str, ...]] = ()
    takes_activations: ClassVar[bool] = True
