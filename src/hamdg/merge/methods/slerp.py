"""SLERP: go from one model to another along an arc instead of a line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.buffers import BufferShares
from hamdg.merge.functional.mixtures import Space, lengths_and_cosines, mixing
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.values import Grid, Range


def _shares(weights: Mapping[str, float], *, t: float) -> BufferShares:
    """Mix 1 - `t` of the first source's statistics and `t` of the second's; with `scope` `global`, by their factors."""
    return BufferShares(dict(zip(weights, (1 - t, t), strict=True)))


@global_method("slerp", on="models", buffers=_shares)
def slerp(
    model_set: ModelSet,
    *,
    t: Annotated[float, Range(0, 1), Grid(0.25, 0.5, 0.75)] = 0.5,
    scope: Literal["tensor", "global"] = "tensor",
    space: Space = "weights",
    straight: Annotated[float, Range(0, 1)] = 0.9995,
) -> MergePlan:
    """Interpolate between exactly two models along an arc.

    theta = sin((1 - t) Omega) / sin Omega * theta_1 + sin(t Omega) / sin Omega * theta_2, with Omega the angle between
    the two. The first is the one that comes first in the alphabet. Shoemake (1985) gave the formula for unit vectors;
    the definition for models is mergekit's (https://github.com/arcee-ai/mergekit): the angle is that of the normalized
    vectors, and the factors are applied to the vectors as they are. Where |cos Omega| is above a threshold (nearly
    collinear, opposite directions included) the line (1 - t) theta_1 + t theta_2 is taken instead.

    Ours are the choice of `scope` and `space` (mergekit: each tensor, weights), and the line where a tensor of one
    model is all zero and has no direction. Tensors in which the two do not differ are passed on and count in no angle.

    Args:
        t: How far to go from the first model (0) to the second (1). mergekit has no default; ours is the middle.
        scope: Whether the angle is that of each tensor (mergekit) or that of the whole models.
        space: Whether to interpolate the weights (mergekit) or the changes from a base.
        straight: The cosine, whatever its sign, above which the line is taken (mergekit's 0.9995).
    """
    if len(model_set.sources) != 2:
        names = ", ".join(f"`{source}`" for source in model_set.sources)
        raise ConfigError(
            f"Merge method `slerp` goes from one model to another: expected exactly two, but got "
            f"{len(model_set.sources)} ({names}). Take `nuslerp` or `karcher` for another number."
        )
    return mixing(model_set, lambda gram: arc(gram, t, straight), scope=scope, space=space)


def arc(gram: Tensor, t: float, straight: float = 1.0) -> Tensor:
    """Return the factors of spherical interpolation between two sources.

    Args:
        gram: Inner products, `(..., 2, 2)`.
        t: How far to go from the first to the second.
        straight: The cosine, whatever its sign, above which the line is taken; it is taken in any case where the sine
            is below one millionth, or where one of the two has no length.

    Returns:
        The factors, `(..., 2)`.
    """
    lengths, cosines = lengths_and_cosines(gram)
    cosine = cosines[..., 0, 1]
    angle = cosine.acos()
    line = (cosine.abs() > straight) | (angle.sin() < 1e-6) | (lengths.prod(-1) == 0)
    angle = angle.masked_fill(line, math.pi / 2)
    first = torch.where(line, 1 - t, ((1 - t) * angle).sin() / angle.sin())
    second = torch.where(line, t, (t * angle).sin() / angle.sin())
    return torch.stack([first, second], -1)
