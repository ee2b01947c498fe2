"""The settings of experts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Fraction


@dataclass(frozen=True)
class ExpertsSettings(AlgorithmSettings):
    """One model per source domain, trained alone, and merged by any method.

    Args:
        ensemble: Adds a row of all source models at once, which costs a forward pass for each of them: the mean of
            their `logits`, or of their `probabilities`; `none` for no such row.
        joint_share: Share of joint training in the result, which lies between the experts' merge (0) and the control,
            ERM + SMA (1), with the control's learning rate (`controls.erm_lr`) whether or not the run has it; runs of
            the control train for it. `null` for the merge alone.
    """

    code: ClassVar[str] = "hamdg.algorithms.experts:Experts"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
    takes_activations: ClassVar[bool] = True
    after_training: ClassVar[tuple[str, ...]] = ("ensemble",)
    added: ClassVar[Mapping[str, object]] = {"ensemble": "none", "joint_share": None}
    ensemble: Literal["none", "logits", "probabilities"] = "none"
    joint_share: Fraction | None = None
