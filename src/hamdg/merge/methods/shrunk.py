"""Shrunken mean: the control that asks whether trimming does more than shorten the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from hamdg.errors import ConfigError
from hamdg.merge.buffers import BufferShares, averaged
from hamdg.merge.functional.mixtures import mean, square
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.values import Grid, Range


def _shares(weights: Mapping[str, float], *, scale: float | None) -> BufferShares:
    """Mix the sources' statistics, as much as the factor of their mean change is, and the rest of the base's."""
    return averaged(weights, scale=1.0 if scale is None else scale)


@global_method("shrunk", on="changes", buffers=_shares)
def shrunk(
    model_set: ModelSet,
    *,
    scale: Annotated[float | None, Grid(0.5, 0.75, 1.25, 1.5, 2.0)] = None,
    norm: Annotated[float | None, Range(0)] = None,
) -> MergePlan:
    """Scale the mean change by a factor or to a given norm: no entry is preferred to another.

    Args:
        scale: Factor of the mean change.
        norm: Euclidean norm over all tensors that the result gets, for instance that of a trimmed merge. A mean of
            norm zero stays zero.
    """
    if (scale is None) == (norm is None):
        raise ConfigError(f"Expected exactly one of `scale` and `norm`, but got `scale={scale}` and `norm={norm}`.")
    if scale is not None:
        return MergePlan(lambda tensor_set: mean(tensor_set) * scale)
    length = math.sqrt(math.fsum(model_set.map(lambda tensor_set: square(mean(tensor_set))).values()))
    factor = (norm or 0.0) / length if length > 0 else 1.0
    return MergePlan(
        lambda tensor_set: mean(tensor_set) * factor,
        buffers=_shares(dict.fromkeys(model_set.sources, 1.0), scale=factor),
    )
