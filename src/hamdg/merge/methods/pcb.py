"""PCB: weigh every entry by how much it competes within its source and how well it agrees with the others."""

from __future__ import annotations

import math
import threading
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.buffers import averaged
from hamdg.merge.functional.cutoff import model_ranked, portion
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Grid, Range

Inter = Literal["total", "normalized", "pairs"]


@global_method("pcb", on="changes", weights="factors", buffers=averaged)
def pcb(
    model_set: ModelSet,
    *,
    density: Annotated[float, Range(0, 1), Grid(0.05, 0.1, 0.2, 0.5)] = 0.1,
    tail: Annotated[float, Range(0, 0.5, below=True)] = 1e-4,
    scale: Annotated[float, Grid(0.5, 1.0, 1.5)] = 1.0,
    inter: Inter = "total",
    scope: Literal["tensor", "global"] = "global",
) -> Rule:
    """Weigh every entry by its size within its source and its agreement with all, drop low scores, and average.

    With n(x) the magnitude rescaled to [0, 1] over the source, after clamping it to its quantiles `tail` and 1 -
    `tail`: score_i = exp(N n(tau_i)^2) tanh(tau_i sum_j tau_j); v_i is the score clamped from below to its 1 -
    `density` quantile and rescaled to [0, 1]; theta = theta_0 + scale sum_i v_i w_i tau_i / sum_i v_i, with the
    clamped changes. See Du et al., https://arxiv.org/abs/2410.02396.

    Three formulas of the agreement are about, all from released code; whether any of them is the paper's own we could
    not read there. `total` is the authors' file of key steps and their language code, `normalized` their vision code,
    `pairs` SCORE's. Code also differs in `tail` (1e-4 or .01) and `density` (.1 or .05), and searches one factor per
    source in [.8, 1.3] (their vision code has 1.2 for all); we take one `scale`, and weights for the sources' own
    factors. Ours: negative scores, entries that pull against the others, count as zero, so that they are never kept
    (the code would, if fewer entries than `density` agree); exactly `round(tail * n)` entries are clamped at each
    end; at least one entry counts unless `density` is 0; if all magnitudes are equal n is 1, and if all kept
    scores are equal so are their weights (the code divides by zero, in tensors of one entry always).

    Args:
        density: Share of entries of each source that keep a weight above zero, but for the last of them.
        tail: Share of entries at each end of a source's magnitudes that are clamped.
        scale: Factor of the merged change.
        inter: The agreement: tanh(tau_i sum_j tau_j) for `total`, tanh(tau_i sum_j n(tau_j)) for `normalized` and
            sum_j tanh(n(tau_i) n(tau_j)) for `pairs`, the n with the signs of the changes.
        scope: Whether quantiles and ranges are taken over the whole model (`global`, all released code) or each
            tensor.
    """
    everywhere = _Balance(model_set, density, tail, inter) if scope == "global" else None

    def rule(tensor_set: TensorSet) -> Tensor:
        balance = everywhere or _Balance(model_set.only((tensor_set.name,)), density, tail, inter)
        return tensor_set.by_pieces(balance.merged).mul_(scale)

    return rule


class _Balance:
    """The scores of all sources, and the ranges that make weights of them."""

    def __init__(self, model_set: ModelSet, density: float, tail: float, inter: Inter) -> None:
        self._inter = inter
        self._last = _Last()
        total = sum(model_set.size(name) for name in model_set.names)
        count = portion(density, total)
        if total == 0:
            return
        # At least one entry lies between the tails.
        clamped = min(round(tail * total), (total - 1) // 2)
        high, low = model_ranked(model_set, clamped + 1, total - clamped)
        self._ranges = {source: (low[source], high[source]) for source in model_set.sources}
        self._ceilings, self._floors = model_ranked(model_set, 1, max(1, count), score=self.score)
        if count == 0:
            self._floors = dict.fromkeys(model_set.sources, math.inf)

    def score(self, tensor_set: TensorSet, source: str) -> Tensor:
        """Return a source's scores, divided by e^N, with zero for the negative ones and for non-finite ones."""
        change = tensor_set.tensors[source]
        number = len(tensor_set.tensors)
        # The factor changes no weight, and keeps many sources from overflowing.
        intra = torch.exp(number * (self._normalized(change, source).square() - 1))
        return self._agreement(tensor_set, source, change).mul_(intra).clamp_(min=0).nan_to_num_()

    def merged(self, piece: TensorSet) -> Tensor:
        """Return the merged change of a piece."""
        total, shares = torch.zeros_like(piece.like), torch.zeros_like(piece.like)
        for source in piece.tensors:
            share = self._share(self.score(piece, source), source)
            low, high = self._ranges[source]
            change = piece.tensors[source]
            clamped = change.abs().clamp_(low, high).mul_(change.sign())
            total.addcmul_(share, clamped, value=piece.weight(source))
            shares += share
        return total / shares.masked_fill_(shares == 0, 1.0)

    def _share(self, score: Tensor, source: str) -> Tensor:
        floor, ceiling = self._floors[source], self._ceilings[source]
        if floor >= ceiling:
            return ((score >= ceiling) & (score > 0) & (score >= floor)).to(score.dtype)
        return score.sub_(floor).clamp_(min=0).div_(ceiling - floor)

    def _normalized(self, change: Tensor, source: str) -> Tensor:
        low, high = self._ranges[source]
        size = change.abs().clamp_(low, high)
        return size.sub_(low).div_(high - low) if high > low else torch.ones_like(size)

    def _signed(self, change: Tensor, source: str) -> Tensor:
        return self._normalized(change, source).mul_(change.sign())

    def _agreement(self, tensor_set: TensorSet, source: str, change: Tensor) -> Tensor:
        if self._inter != "pairs":
            return torch.tanh(change * self._sum(tensor_set))
        own, total = self._signed(change, source), torch.zeros_like(change)
        for other, theirs in tensor_set.tensors.items():
            total += torch.tanh(own * self._signed(theirs, other))
        return total

    def _sum(self, tensor_set: TensorSet) -> Tensor:
        """Return the sum of all changes; it is asked for once for every source of a piece, and kept meanwhile."""
        key = (tensor_set.name, tensor_set.start, tensor_set.like.numel())
        if self._last.key != key:
            total = torch.zeros_like(tensor_set.like)
            for source, change in tensor_set.tensors.items():
                total += change if self._inter == "total" else self._signed(change, source)
            self._last.key, self._last.total = key, total
        return self._last.total


class _Last(threading.local):
    """The sum that a thread computed last."""

    key: tuple[str, int, int] | None = None
    total: Tensor
