"""What learners in lock-step do to each other's gradients or parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from hamdg.cohort.learner import Learner
from hamdg.tracking.keys import MetricKey


class Coupling(nn.Module):
    """Acts on gradients or parameters of a cohort's learners, never on their losses.

    What couples losses, such as mutual distillation, is one learner with several networks. Tensors that a coupling
    keeps are buffers, and other state is `get_extra_state`: they follow the device and come back in a resumed run.

    Attributes:
        shown: Metrics that progress bars show, by the word before them: the mean of one over sources, or one as a share
            of another.
    """

    shown: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def before_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Mapping[MetricKey, Tensor]:
        """Change gradients in place, before they are clipped; by default nothing.

        Args:
            learners: All learners by name, with gradients; the same mapping at every step.
            step: The number of the step, from 0.
            log_now: Whether measurements are wanted.

        Returns:
            Measurements, as tensors (0-d) that stay on their device.
        """
        return {}

    def after_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Mapping[MetricKey, Tensor]:
        """Change parameters in place, after the optimizer moved them; by default nothing.

        Args and returns as `before_update`.
        """
        return {}
