"""Shrunken mean: the control that asks whether trimming does more than shorten the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from hamdg.errors import ConfigError
from hamdg.merge.functional.means import mean, square
from hamdg.merge.model_set import ModelSet
from hamdg.merge.options import Range
from hamdg.merge.registry import Plan, global_method
from hamdg.merge.shares import BufferShares, averaged


def _shares(weights: Mapping[str, float], *, scale: float | None) -> BufferShares:
    """Mix the sources' statistics, as much as the factor of their mean change is, and the rest of the base's."""
    return averaged(weights, scale=1.0 if scale is None else scale)


@global_method("shrunk", on="changes", buffers=_shares)
def shrunk(family: ModelSet, *, scale: float | None = None, norm: Annotated[float | None, Range(0)] = None) -> Plan:
    """Scale the mean change by a factor or to a given norm: no entry is preferred to another.

    Args:
        scale: Factor of the mean change.
        norm: Euclidean norm over all tensors that the result gets, for instance that of a trimmed merge. A mean of
            norm zero stays zero.
    """
    if (scale is None) == (norm is None):
        raise ConfigError(f"Expected exactly one of `scale` and `norm`, but got `scale={scale}` and `norm={norm}`.")
    if scale is not None:
        return Plan(lambda site: mean(site) * scale)
    length = math.sqrt(math.fsum(family.map(lambda site: square(mean(site))).values()))
    factor = (norm or 0.0) / length if length > 0 else 1.0
    return Plan(lambda site: mean(site) * factor, buffers=_shares(dict.fromkeys(family.sources, 1.0), scale=factor))
