"""DELLA: drop entries at random, small ones more often than large ones, and rescale each by its own chance to stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError
from hamdg.merge.buffers import BufferShares, added, averaged
from hamdg.merge.functional.masks import uniforms
from hamdg.merge.functional.rows import by_rows, descending
from hamdg.merge.methods.task_arithmetic import task_arithmetic
from hamdg.merge.methods.ties import Combine, Sign, elected
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import FactorOfSum, Grid, Range

Rescale = Literal["probability", "l1", "none"]


def _shares(
    weights: Mapping[str, float], *, scale: float, then: Literal["ties", "task_arithmetic"], combine: Combine
) -> BufferShares:
    """Mix statistics as `ties` or `task_arithmetic` does, whichever follows."""
    return (averaged if then == "ties" and combine == "mean" else added)(weights, scale=scale)


@global_method("della", on="changes", weights="factors", buffers=_shares)
def della(
    model_set: ModelSet,
    *,
    drop_rate: Annotated[float, Range(0, 1, below=True), Grid(0.1, 0.3, 0.5, 0.7)] = 0.3,
    window: Annotated[float, Range(0, 1)] = 0.14,
    scale: Annotated[
        float, Grid(0.5, 0.8, 1.1, 1.5), FactorOfSum("then", "task_arithmetic"), FactorOfSum("combine", "sum")
    ] = 1.1,
    rescale: Rescale = "probability",
    seed: int = 0,
    then: Literal["ties", "task_arithmetic"] = "ties",
    sign: Sign = "mass",
    combine: Combine = "mean",
) -> Rule:
    """Drop entries of every change at random by their rank of magnitude in the row, rescale, and merge what agrees.

    Within each row, the r-th smallest of n magnitudes stays with the probability k = 1 - p - window / 2 + window
    (r - 1) / (n - 1) and becomes tau / k; then signs are elected and agreeing entries merged, times scale. See Deep et
    al., https://arxiv.org/abs/2406.11617.

    The paper states the linear probabilities, the factor 1 / k, the election and the final factor. The authors'
    README merges with p = .3, a window of .14 and a factor of 1.1, our defaults; their code's own default is epsilon
    = window / 2 = .05, mergekit's .15. Ours: a row is the first axis with all others flattened, a vector is one row
    (the code knows matrices only); of equal magnitudes the first ranks higher; a row of one entry stays with
    probability 1 - p (the code divides by zero); an entry whose election is tied stays at the base (the code elects
    plus); masks are seeded like those of `dare`.

    Args:
        drop_rate: Share p of entries that are dropped, in expectation.
        window: How much likelier the largest entry of a row stays than the smallest; 0 is DARE. No probability may
            leave (0, 1], so at most 2 p and less than 2 (1 - p).
        scale: Factor of the merged change.
        rescale: `probability` divides each entry by its own chance to stay, so that the expected change is the change
            (the paper); `l1` gives each source's change of each tensor its L1 norm back (mergekit); `none` does
            neither.
        seed: Another seed gives other masks.
        then: `ties` elects signs (the paper); `task_arithmetic` adds all that is left, mergekit's `della_linear`.
        sign: How signs are elected, see `ties`.
        combine: How what agrees is combined, see `ties`; the code divides by the weights of those that agree (`mean`).
    """
    # A little slack, for 1 - .9 + .1 is not 1 in binary.
    if window > 2 * drop_rate + 1e-12 or window >= 2 * (1 - drop_rate):
        raise ConfigError(
            "Expected ",
            Argument("window", "argument "),
            " to be at most 2 `drop_rate` and below 2 (1 - `drop_rate`), so that all "
            f"probabilities are between 0 and 1, but got `{window}` with `drop_rate` `{drop_rate}`.",
        )
    if then != "ties" and (sign != "mass" or combine != "mean"):
        raise ConfigError("Options `sign` and `combine` belong to TIES; set `then` to `ties`, or leave them out.")

    def rule(tensor_set: TensorSet) -> Tensor:
        factors = _l1_factors(tensor_set, drop_rate, window, seed) if rescale == "l1" else {}

        def rowwise(piece: TensorSet, length: int) -> Tensor:
            sampled = {}
            for source, change in piece.tensors.items():
                kept = _sampled(piece, source, change, length, (drop_rate, window, seed), rescale == "probability")
                sampled[source] = kept.mul_(factors[source]) if factors else kept
            thinned = replace(piece, tensors=sampled)
            if then == "task_arithmetic":
                return task_arithmetic(thinned, scale=scale)
            return elected(thinned, sign, combine).mul_(scale)

        return by_rows(tensor_set, rowwise)

    return rule


def keep_probabilities(change: Tensor, drop_rate: float, window: float) -> Tensor:
    """Return the chance of every entry of a table to stay, in fp32, by its rank of magnitude in its row.

    Args:
        change: Rows of changes.
        drop_rate: See `della`.
        window: See `della`.
    """
    length = change.shape[1]
    if length == 1 or window == 0:
        return torch.full_like(change, 1 - drop_rate, dtype=torch.float32)
    ends = (1 - drop_rate + window / 2, 1 - drop_rate - window / 2)
    chances = torch.linspace(*ends, length, dtype=torch.float64).float().to(change.device).expand(change.shape)
    return torch.empty_like(chances, memory_format=torch.contiguous_format).scatter_(
        1, descending(change.abs()), chances
    )


def _sampled(
    piece: TensorSet, source: str, change: Tensor, length: int, chances: tuple[float, float, int], divide: bool
) -> Tensor:
    drop_rate, window, seed = chances
    keep = keep_probabilities(change.view(-1, length), drop_rate, window).view(-1)
    kept = change * (uniforms(piece, source, seed) < keep)
    return kept.div_(keep) if divide else kept


def _l1_factors(tensor_set: TensorSet, drop_rate: float, window: float, seed: int) -> dict[str, float]:
    before, after = dict.fromkeys(tensor_set.tensors, 0.0), dict.fromkeys(tensor_set.tensors, 0.0)

    def add(piece: TensorSet, length: int) -> Tensor:
        for source, change in piece.tensors.items():
            kept = _sampled(piece, source, change, length, (drop_rate, window, seed), divide=False)
            before[source] += float(change.abs().sum(dtype=torch.float64))
            after[source] += float(kept.abs().sum(dtype=torch.float64))
        return torch.zeros_like(piece.like)

    by_rows(tensor_set, add)
    return {source: before[source] / after[source] if after[source] > 0 else 1.0 for source in before}
