"""EMA: the exponential moving average over the checkpoints of one trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor

from hamdg.merge.buffers import BufferShares
from hamdg.merge.functional.trajectory import in_order
from hamdg.merge.history import Ema, folded, shares_of
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method
from hamdg.values import Range


def _shares(weights: Mapping[str, float], *, decay: float) -> BufferShares:
    """Mix the checkpoints' statistics by their shares in the weights."""
    names = in_order(tuple(weights))
    return BufferShares(dict(zip(names, shares_of(Ema(decay), len(names)), strict=True)))


@tensorwise_method("ema", on="models", trajectory=True, pieces=True, linear=True, buffers=_shares)
def ema(tensor_set: TensorSet, *, decay: Annotated[float, Range(0, 1)] = 0.95) -> Tensor:
    """Average the checkpoints of one trajectory with exponentially falling weights: m <- d m + (1 - d) theta_t.

    The sources are checkpoints, taken in the order of the numbers in their names (`step-2` before `step-10`). It is
    Polyak averaging as it is used today, see for instance `torch.optim.swa_utils` and Morales-Brotons et al.,
    https://arxiv.org/abs/2411.18704. The first update copies, as torch's does, so the first of n checkpoints weighs
    d^(n - 1) and needs no correction for an average that begins at zero.

    Our choices: one update per checkpoint, whatever the number of steps between two; the base has no part in it.

    Args:
        decay: Share of the old average in the new one: 0 gives the last checkpoint, 1 the first. torch's default of
            0.999 and timm's of 0.9999 are meant for an update per step; ours is meant for tens of checkpoints.
    """
    return folded(Ema(decay), (tensor_set.tensors[source] for source in in_order(tuple(tensor_set.tensors))))
