"""How much of the base and of every source goes into the merged buffers: what methods state, and common statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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
