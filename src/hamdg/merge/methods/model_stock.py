"""Model Stock: go from the start towards the mean, as far as the sources agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from hamdg.merge.buffers import BufferShares, by_weight
from hamdg.merge.functional.mixtures import lengths_and_cosines, mixing
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method


def _shares(weights: Mapping[str, float]) -> BufferShares:
    """Mix the sources' statistics alike; with `scope` `global`, those of the base by its share in the weights."""
    return by_weight(weights)


@global_method("model_stock", on="changes", buffers=_shares)
def model_stock(model_set: ModelSet, *, scope: Literal["tensor", "global"] = "tensor") -> MergePlan:
    """Move from the base to the mean by a ratio that follows from the angle between the sources' changes.

    theta = theta_0 + t (1/N) sum_i tau_i with t = N c / (1 + (N - 1) c), c being the cosine between changes: with c = 0
    the result is the base, with c = 1 the mean. See Jang et al., https://arxiv.org/abs/2403.19522.

    The paper takes one angle per layer; here a layer is a tensor. With more than two sources there are many angles: c
    is the mean of the cosines of all pairs, as in mergekit; a mean of the angles (FusionBench) gives other numbers.
    Ours: a mean cosine below zero counts as zero and gives the base, where the formula would turn round and, at c =
    -1 / (N - 1), blow up. A source that did not change a tensor, which others changed, has cosine 0 with them (as in
    mergekit). One source alone is returned as it is; the paper needs two.

    Args:
        scope: Whether the ratio is that of each tensor (the paper's layers) or one for the whole model (ours).
    """
    return mixing(model_set, _factors, scope=scope)


def _factors(gram: Tensor) -> Tensor:
    count = gram.shape[-1]
    _, cosines = lengths_and_cosines(gram)
    pairs = torch.triu_indices(count, count, offset=1)
    cosine = float(cosines[pairs[0], pairs[1]].mean().clamp(min=0)) if count > 1 else 1.0
    ratio = count * cosine / (1 + (count - 1) * cosine)
    return gram.new_full((count,), ratio / count)
