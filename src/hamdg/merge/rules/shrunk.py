"""Shrunken mean: the control that asks whether trimming does more than shorten the step."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.family import Family, Rule, Site
from hamdg.merge.options import Range
from hamdg.merge.registry import register_whole


@register_whole("shrunk", on="changes")
def shrunk(family: Family, *, scale: float | None = None, norm: Annotated[float | None, Range(0)] = None) -> Rule:
    """Scale the mean change by a factor or to a given norm: no entry is preferred to another.

    Args:
        scale: Factor of the mean change.
        norm: Euclidean norm over all tensors that the result gets, for instance that of a trimmed merge. A mean of
            norm zero stays zero.
    """
    if (scale is None) == (norm is None):
        raise ConfigError(f"Expected exactly one of `scale` and `norm`, but got `scale={scale}` and `norm={norm}`.")
    if scale is not None:
        return lambda site: _mean(site) * scale
    length = math.sqrt(math.fsum(family.map(lambda site: _square(_mean(site))).values()))
    return lambda site: _mean(site) * ((norm or 0.0) / length if length > 0 else 1.0)


def _mean(site: Site) -> Tensor:
    total = torch.zeros_like(site.like)
    for change in site.tensors.values():
        total += change
    return total / len(site.tensors)


def _square(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64).square())
