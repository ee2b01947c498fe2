"""DARE: drop entries at random and rescale the others, then merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.buffers import BufferShares, added, averaged
from hamdg.merge.functional.masks import uniforms
from hamdg.merge.methods.task_arithmetic import task_arithmetic
from hamdg.merge.methods.ties import Combine, Scope, Sign, elected, trimming
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range

Then = Literal["task_arithmetic", "ties"]
# Of the methods that follow, their own default factors.
_SCALES: dict[Then, float] = {"task_arithmetic": 0.3, "ties": 1.0}


def _shares(weights: Mapping[str, float], *, scale: float | None, then: Then, ties_combine: Combine) -> BufferShares:
    """Mix statistics as `task_arithmetic` or `ties` does, whichever follows."""
    how = averaged if then == "ties" and ties_combine == "mean" else added
    return how(weights, scale=_SCALES[then] if scale is None else scale)


@global_method("dare", on="changes", weights="factors", buffers=_shares)
def dare(
    model_set: ModelSet,
    *,
    drop_rate: Annotated[float, Range(0, 1, below=True), Grid(0.1, 0.5, 0.9)] = 0.9,
    rescale: Literal["expectation", "l1"] = "expectation",
    seed: int = 0,
    then: Then = "task_arithmetic",
    scale: Annotated[
        float | None,
        Grid(0.1, 0.3, 0.5, 1.0),
        FactorOfSum("then", "task_arithmetic", none=_SCALES["task_arithmetic"]),
        FactorOfSum("ties_combine", "sum", none=_SCALES["ties"]),
    ] = None,
    ties_density: Annotated[float, Range(0, 1)] = 1.0,
    ties_scope: Scope = "global",
    ties_sign: Sign = "mass",
    ties_combine: Combine = "mean",
) -> Rule:
    """Drop entries of every change at random, rescale those that stay, and merge by task arithmetic or TIES.

    tau_i' = m_i tau_i / (1 - p) with m_i drawn from Bernoulli(1 - p), entry by entry and source by source; then
    theta_0 + scale sum_i w_i tau_i', or TIES on the tau_i'. See Yu et al., https://arxiv.org/abs/2311.03099.

    The paper states the mask, the factor 1 / (1 - p), and that a merge such as these two follows. Ours: a mask is a
    function of the seed, the source's name and the tensor's name, so that neither the order of sources nor the number
    of threads nor the device changes it (a renamed source gets another); sources have masks of their own; weights
    multiply what is left after dropping; a drop rate of 1 leaves nothing and is refused. Mind that with TIES and
    `mean` the few survivors are averaged among themselves, at 1 / (1 - p) times their size.

    Args:
        drop_rate: Share p of entries that are dropped, in expectation; the paper's .9 (up to .99 for large language
            models; FusionBench takes .5).
        rescale: `expectation` divides by 1 - p, so that the expected change is the change (the paper); `l1` gives each
            source's change of each tensor its L1 norm back, as mergekit does.
        seed: Another seed gives other masks.
        then: What merges the rescaled changes.
        scale: Factor of the merged change; by default that of the method which follows, .3 for task arithmetic and 1
            for TIES.
        ties_density: Share of entries that TIES keeps of each rescaled change, dropped entries counting as zeros.
            Ours is 1, no further trimming, as in mergekit; the authors' code trims to .2, which is the same at drop
            rates well above .8.
        ties_scope: What `ties_density` is a share of, see `ties`.
        ties_sign: How TIES elects signs, see `ties`.
        ties_combine: How TIES combines what agrees, see `ties`; mergekit sums.
    """
    strangers = (ties_density, ties_scope, ties_sign, ties_combine) != (1, "global", "mass", "mean")
    if then != "ties" and strangers:
        raise ConfigError("Options that begin with `ties_` belong to TIES; set `then` to `ties`, or leave them out.")
    thinned = _Thinned(model_set, drop_rate, rescale == "l1", seed)
    factor = _SCALES[then] if scale is None else scale
    if then == "task_arithmetic":
        return lambda tensor_set: tensor_set.by_pieces(
            lambda piece: task_arithmetic(thinned.tensor_set(piece), scale=factor)
        )
    trim = trimming(model_set, ties_density, ties_scope, value=thinned)
    return lambda tensor_set: trim(tensor_set, lambda piece: elected(piece, ties_sign, ties_combine).mul_(factor))


class _Thinned:
    """Every source's change with entries dropped and the others rescaled."""

    def __init__(self, model_set: ModelSet, drop_rate: float, l1: bool, seed: int) -> None:
        self._keep, self._seed = 1 - drop_rate, seed
        self._factors = model_set.map(self._l1_factors) if l1 else {}

    def __call__(self, tensor_set: TensorSet, source: str) -> Tensor:
        factors = self._factors.get(tensor_set.name)
        return self._dropped(tensor_set, source).mul_(factors[source] if factors else 1 / self._keep)

    def tensor_set(self, tensor_set: TensorSet) -> TensorSet:
        return replace(tensor_set, tensors={source: self(tensor_set, source) for source in tensor_set.tensors})

    def _dropped(self, tensor_set: TensorSet, source: str) -> Tensor:
        return tensor_set.tensors[source] * (uniforms(tensor_set, source, self._seed) < self._keep)

    def _l1_factors(self, tensor_set: TensorSet) -> dict[str, float]:
        factors = {}
        for source in tensor_set.tensors:
            before = after = 0.0
            for piece in tensor_set.pieces():
                before += _l1(piece.tensors[source])
                after += _l1(self._dropped(piece, source))
            factors[source] = before / after if after > 0 else 1.0
        return factors


def _l1(tensor: Tensor) -> float:
    return float(tensor.abs().sum(dtype=torch.float64))
