"""Beta moving average: the mean over a trajectory that weighs both of its ends most."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import BufferShares
from hamdg.merge.functional.trajectory import in_order
from hamdg.merge.history import BetaAverage, folded, shares_of
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Range


def _shares(weights: Mapping[str, float], *, base: bool, beta: float) -> BufferShares:
    """Mix the statistics of the base and the checkpoints by their shares in the weights."""
    names, states = in_order(tuple(weights)), len(weights) + base
    shares = shares_of(BetaAverage(states, beta), states)
    return BufferShares(dict(zip(names, shares[base:], strict=True)), shares[0] if base else 0.0)


@tensorwise_method("beta_average", on="models", trajectory=True, uses_base=True, pieces=True, buffers=_shares)
def beta_average(tensor_set: TensorSet, *, beta: Annotated[float, Range(0, above=True)] = 0.5) -> Tensor:
    """Average a trajectory by the density of Beta(b, b): theta = sum_t a_t theta_t / sum_t a_t.

    a_t is the density at (t + 0.5) / (T + 1) for the states t = 0, ..., T: CLIPood's Beta moving average
    (https://arxiv.org/abs/2302.00864), in which t = 0 is the pretrained model, there is one state per training step,
    and b = 0.5 gives the pretrained and the last model the largest weights. b = 1 is the plain mean.

    Our choices: the states are the checkpoints that are given, in the order of the numbers in their names (`step-2`
    before `step-10`), as if they lay at equal distances. The base, if one is given, is the state t = 0 (CLIPood);
    without one the first checkpoint is.

    Args:
        beta: Both shape parameters b of the density; the default is that of the paper's released code.
    """
    names = in_order(tuple(tensor_set.tensors))
    before = () if tensor_set.base is None else (tensor_set.base,)
    states = chain(before, (tensor_set.tensors[name] for name in names))
    return folded(BetaAverage(len(before) + len(names), beta), states)
