"""WiSE-FT: go only part of the way from the start to the fine-tuned model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor

from hamdg.merge.buffers import BufferShares, averaged
from hamdg.merge.methods.weighted import weighted_mean
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Grid, Range


def _shares(weights: Mapping[str, float], *, alpha: float) -> BufferShares:
    """Mix `alpha` of the sources' statistics, by their weights, and 1 - `alpha` of the base's."""
    return averaged(weights, scale=alpha)


@tensorwise_method("wise_ft", on="models", needs_base=True, weights="shares", pieces=True, buffers=_shares)
def wise_ft(
    tensor_set: TensorSet, *, alpha: Annotated[float, Range(0, 1), Grid(0.2, 0.4, 0.5, 0.6, 0.8)] = 0.5
) -> Tensor:
    """Interpolate between the base and the fine-tuned model: theta = (1 - alpha) theta_0 + alpha theta_1.

    See Wortsman et al., https://arxiv.org/abs/2109.01903. The paper interpolates between the zero-shot model and one
    fine-tuned model, all weights alike, recommends alpha = 0.5 where nothing else is known, and sweeps 0 to 1 in steps
    of 0.1.

    Our choices: with several sources theta_1 is their mean, weighted if weights are given. alpha = 0 gives the base and
    alpha = 1 the mean of the sources exactly, in the precision that is computed in.

    Args:
        alpha: How far to go from the base (0) to the fine-tuned model (1); the default is the paper's.
    """
    assert tensor_set.base is not None
    return torch.lerp(tensor_set.base, weighted_mean(tensor_set), alpha)
