"""What becomes of buffers: BatchNorm's statistics and counters, which are measurements and no weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from hamdg.errors import Argument, WeightsError
from hamdg.merge.tensors import Tensors, equal

Policy = Literal["moments", "mean", "first", "refuse"]

_MEAN, _VARIANCE, _COUNT = "running_mean", "running_var", "num_batches_tracked"
# A sum of decimal fractions (0.1 + 0.2 + 0.7) misses 1 by less.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class BufferShares:
    """How much of the base and of every source goes into the merged buffers.

    Only ratios matter. A negative share counts as zero, because a variance cannot be taken away. If no share is left,
    the buffers are the base's, or the sources' in equal shares where there is no base.

    Args:
        sources: Share of every source; a source that is not named has none.
        base: Share of the base.
    """

    sources: Mapping[str, float]
    base: float = 0.0

    def scaled(self, factor: float) -> BufferShares:
        """Return the shares of a model whose change from the base was multiplied by a factor."""
        if factor == 1:
            return self
        rest = self.base + (1 - factor) * math.fsum(self.sources.values())
        return BufferShares({source: factor * share for source, share in self.sources.items()}, rest)

    def positive(self, has_base: bool) -> BufferShares:
        """Return the shares that count, none of them negative and one of them at least above zero."""
        sources = {source: max(0.0, share) for source, share in self.sources.items()}
        base = max(0.0, self.base) if has_base else 0.0
        if base or any(sources.values()):
            return BufferShares(sources, base)
        return replace(self, base=1.0) if has_base else BufferShares(dict.fromkeys(sources, 1.0))


# Takes the sources' weights by name (1 where none was given; of methods whose weights are shares, divided by their
# sum), and options of the method as keywords.
Statement = Callable[..., BufferShares]


def by_weight(weights: Mapping[str, float]) -> BufferShares:
    """Mix the sources' statistics by their weights; those of the base take no part."""
    return BufferShares(weights)


def added(weights: Mapping[str, float], *, scale: float) -> BufferShares:
    """Mix `scale` times its weight of every source's statistics and, up to 1, of the base's."""
    shares = {source: scale * weight for source, weight in weights.items()}
    rest = 1 - math.fsum(shares.values())
    return BufferShares(shares, rest if abs(rest) > _ROUNDING else 0.0)


def averaged(weights: Mapping[str, float], *, scale: float) -> BufferShares:
    """Mix `scale` of the sources' statistics, by their weights, and 1 - `scale` of the base's."""
    positive = {source: max(0.0, weight) for source, weight in weights.items()}
    total = math.fsum(positive.values())
    return added({source: weight / total if total else 0.0 for source, weight in positive.items()}, scale=scale)


def is_buffer(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a buffer: a statistic of BatchNorm, or anything that is not floating-point."""
    return name.rpartition(".")[2] in (_MEAN, _VARIANCE, _COUNT) or not tensor.is_floating_point()


def merge_buffers(
    models: Mapping[str, Tensors],
    base: Tensors | None,
    names: tuple[str, ...],
    policy: Policy,
    shares: BufferShares,
    *,
    cumulative: bool = False,
    factors: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Merge the buffers of several models.

    Models without a share take no part. Where all others agree on a buffer, and on the other buffers of its layer, it
    stays as it is under every policy: such statistics are frozen, measured once. Where they do not:

    - `moments` gives mean and variance of the mixture of what the models saw: mu = sum_i s_i mu_i and var = sum_i s_i
      (var_i + (mu_i - mu)^2), the shares s_i summing to 1 (https://arxiv.org/abs/2407.13771, there with s_i = n_i / n).
      The sources divide what the base leaves in proportion to w_i n_i, their shares in the weights times the numbers of
      batches that they saw. Layers without counters, or with counters of zero, use the w_i alone, and so do
      checkpoints of one trajectory, whose counters go on from one to the next. So does the base against the sources.
      The merged counter is that of all batches, sum_i w_i n_i / max_i w_i; of a trajectory, and between base and
      sources, it is the mean by shares.
    - `mean` gives the means of means and of variances by the w_i alone. The distances between the means are missing
      from such a variance, so that it is too small where the models saw different things: a control for `moments`.
    - `first` takes those of the first source in alphabetical order.
    - `refuse` raises.

    Args:
        models: Tensors of every source.
        base: Those of the common start.
        names: The buffers among them.
        policy: One of the four.
        shares: What the merged weights are made of.
        cumulative: Whether the sources are checkpoints of one trajectory.
        factors: What the change of a buffer's layer was multiplied by, if not by 1.

    Returns:
        Buffers by name, on the CPU; those that were mixed in double precision, or as 64-bit integers.

    Raises:
        WeightsError: Under `refuse`, the models differ in a buffer; under the first two, in an integer of another kind.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.removesuffix(name.rpartition(".")[2]), []).append(name)
    merged = {}
    for prefix, group in layers.items():
        own = shares.scaled((factors or {}).get(group[0], 1.0)).positive(base is not None)
        layer = _Layer(prefix, models, base, own, cumulative)
        differing = [name for name in group if not layer.agree(name)]
        if differing and policy == "refuse":
            raise WeightsError(
                f"The models differ in the buffer `{differing[0]}`; choose ",
                Argument("buffers"),
                " to be `moments` (pool them) or `first` (those of the first source).",
            )
        for name in group:
            first = layer.first[name].detach().cpu().clone()
            if differing and policy in ("moments", "mean"):
                first = layer.pooled(name, between=policy == "moments")
            merged[name] = first
    return merged


@dataclass(frozen=True)
class _Layer:
    """The models that take part in the buffers of one layer.

    Args:
        prefix: What stands before `running_mean` and the like.
        models: Tensors of every source.
        base: Those of the common start.
        shares: The share of every source; none is negative, and one is above zero.
        cumulative: Whether counters go on from one source to the next.
    """

    prefix: str
    models: Mapping[str, Tensors]
    base: Tensors | None
    shares: BufferShares
    cumulative: bool

    @cached_property
    def sources(self) -> dict[str, Tensors]:
        return {source: self.models[source] for source, share in self.shares.sources.items() if share > 0}

    @cached_property
    def start(self) -> tuple[Tensors, ...]:
        """The base, if it takes part."""
        return (self.base,) if self.base is not None and self.shares.base > 0 else ()

    @property
    def first(self) -> Tensors:
        return next(iter((*self.sources.values(), *self.start)))

    def agree(self, name: str) -> bool:
        # Integers that count nothing cannot be mixed with those of a base.
        models = (*self.sources.values(), *(self.start if self._mixes(name) or not self.sources else ()))
        first = models[0][name]
        return all(equal(first, model[name]) for model in models[1:])

    def pooled(self, name: str, between: bool = True) -> Tensor:
        """Return a buffer of the mixture.

        Args:
            name: The buffer.
            between: Whether the numbers of batches and the distances between the means count; else it is a plain mean.

        Raises:
            WeightsError: It cannot be mixed.
        """
        if not self._mixes(name):
            if self.agree(name):
                return self.first[name].detach().cpu().clone()
            raise WeightsError(
                f"The models differ in `{name}`, which is not floating-point and cannot be averaged; take the first "
                "source's with ",
                Argument("buffers"),
                " set to `first`.",
            )
        if name == self.prefix + _COUNT:
            return self._counted(name)
        if not between:
            return self._mean([_wide(model[name]) for model in self._participants], self._plain_weights)
        mean = self.prefix + _MEAN
        if name == mean:
            return self._mean([_wide(model[mean]) for model in self._participants])
        if any(mean not in model for model in self._participants):
            raise WeightsError(f"`{name}` cannot be pooled without `{mean}`; set ", Argument("buffers"), " to `first`.")
        means = [_wide(model[mean]) for model in self._participants]
        middle = self._mean(means)
        variances = [_wide(model[name]) for model in self._participants]
        return self._mean([var + (mu - middle).square() for var, mu in zip(variances, means, strict=True)])

    @property
    def _participants(self) -> tuple[Tensors, ...]:
        return (*self.sources.values(), *self.start)

    def _mixes(self, name: str) -> bool:
        return name in (self.prefix + kind for kind in (_MEAN, _VARIANCE, _COUNT))

    def _mean(self, tensors: list[Tensor], parts: list[float] | None = None) -> Tensor:
        weights = torch.tensor(parts or self._weights, dtype=torch.float64).view(-1, *(1 for _ in tensors[0].shape))
        return (weights * torch.stack(tensors)).sum(0)

    @cached_property
    def _weights(self) -> list[float]:
        """The parts of the sources and the base in the mixture, which sum to one."""
        return self._parts(self._seen([self.shares.sources[source] for source in self.sources]))

    @property
    def _plain_weights(self) -> list[float]:
        """The same, whatever the numbers of batches."""
        return self._parts([self.shares.sources[source] for source in self.sources])

    def _parts(self, seen: list[float]) -> list[float]:
        """Return the parts, the sources dividing theirs in proportion to what each has seen."""
        group = math.fsum(self.shares.sources[source] for source in self.sources)
        base = [self.shares.base] if self.start else []
        total, within = group + math.fsum(base), math.fsum(seen)
        return [*(group / total * (part / within) for part in seen), *(part / total for part in base)]

    def _seen(self, shares: list[float]) -> list[float]:
        """Return the shares of the sources, each times the batches that it saw if that says something."""
        counter = self.prefix + _COUNT
        if not self.cumulative and all(counter in model for model in self.sources.values()):
            counts = [float(model[counter].detach().cpu().double().sum()) for model in self.sources.values()]
            if min(counts, default=0.0) >= 0 and any(counts):
                return [share * count for share, count in zip(shares, counts, strict=True)]
        return shares

    def _counted(self, name: str) -> Tensor:
        shares = [self.shares.sources[source] for source in self.sources]
        # Sources that saw different batches saw them all together; of states of one training the counter is a mean.
        divisor = math.fsum(shares) if self.cumulative else max(shares, default=0.0)
        group, base = math.fsum(shares), self.shares.base if self.start else 0.0
        parts = [share / divisor * group / (group + base) for share in shares]
        parts += [base / (group + base)] if self.start else []
        counts = [_wide(model[name]) for model in self._participants]
        whole, rest = torch.zeros_like(counts[0]), torch.zeros_like(counts[0], dtype=torch.float64)
        for part, count in zip(parts, counts, strict=True):
            # Integers may be larger than floats can tell apart.
            if part == 1:
                whole += count
            else:
                rest += part * count
        return whole + rest.round().to(whole.dtype)


def _wide(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu()
    return plain.double() if plain.is_floating_point() else plain.long()
