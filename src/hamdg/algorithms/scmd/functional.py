"""What SCMD computes: which samples are hard, and cross-modal scores (https://arxiv.org/abs/2311.15145)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

# CLIP's own start of the logarithm of its scale, and what it is kept below.
START_LOG_SCALE = math.log(1 / 0.07)
MAX_LOG_SCALE = math.log(100)


def selects(step: int, steps: int, whole_share: float) -> bool:
    """Return whether samples are selected in a step (from 0): up to and with step `floor(steps (1 - whole_share))`.

    So the published code has it: of its 5,001 steps, those numbered 0 to 3,750 select.
    """
    # 0.7 * 10 is a little below 7 in floating point.
    return step <= math.floor(steps * (1 - whole_share) + 1e-9)


def kept(count: int, share: float) -> int:
    """Return how many of a batch's samples are learned from: `floor(share count)`, but at least one."""
    return max(1, math.floor(share * count + 1e-9))


def hardest(losses: Tensor, share: float) -> Tensor:
    """Return the positions, ascending, of the samples with the largest losses [n]; of equal ones the first come first.

    Args:
        losses: One loss a sample.
        share: The share of samples that is kept.
    """
    order = torch.argsort(losses, descending=True, stable=True)
    return order[: kept(len(losses), share)].sort().values


def cross_modal_scores(projected: Tensor, class_features: Tensor, log_scale: Tensor) -> Tensor:
    """Return scores [n, classes]: cosines of projected image features and the text's features, times a scale.

    Args:
        projected: The student's features in the teacher's space [n, d], of any length.
        class_features: The teacher's features of the classes [classes, d], of length 1.
        log_scale: Logarithm of the scale (0-d).
    """
    return log_scale.exp() * normalize(projected, dim=1) @ class_features.T
