"""The loss of a student that learns a teacher's soft labels (https://arxiv.org/abs/1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from hamdg.errors import ConfigError


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return `T^2 KL(softmax(teacher / T) || softmax(student / T))`, the mean over samples; no gradient to the teacher.

    `T^2` keeps gradients of one size whatever the temperature.

    Args:
        student: Scores [n, classes].
        teacher: Scores [n, classes].
        temperature: `T`.

    Raises:
        ConfigError: The two do not score the same classes.
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f"A student learns the scores of a teacher for the same classes, but the student's have the shape "
            f"{tuple(student.shape)} and the teacher's {tuple(teacher.shape)}; give both one list of classes."
        )
    wanted = softmax(teacher.detach() / temperature, dim=1)
    return kl_div(log_softmax(student / temperature, dim=1), wanted, reduction="batchmean") * temperature**2
