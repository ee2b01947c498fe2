"""Shrunken mean: the control that asks whether trimming does more than shorten the step."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.geometry import with_norm
from hamdg.merge.registry import register
from hamdg.merge.uniform import mean_vector

Tensors = Mapping[str, Tensor]


@register("shrunk", needs_base=True)
def shrunk(
    task_vectors: Mapping[str, Tensors],
    base: Tensors | None = None,
    *,
    scale: float | None = None,
    norm: float | None = None,
) -> dict[str, Tensor]:
    """Scale the mean task vector by a factor or to a given norm: no coordinate is preferred to another.

    Args:
        task_vectors: What every source changed.
        base: Not used; the mean has no need of the start.
        scale: Factor of the mean task vector.
        norm: Euclidean norm over all tensors that the result gets, for instance that of a trimmed merge. A mean of
            norm zero stays zero.

    Returns:
        The merged task vector.

    Raises:
        ConfigError: Not exactly one of `scale` and `norm` is given, or `norm` is negative.
    """
    if norm is not None and norm < 0:
        raise ConfigError(f"Expected argument `norm` to be at least 0, but got `{norm}`.")
    mean = mean_vector(task_vectors)
    if norm is not None and scale is None:
        return with_norm(mean, norm)
    if scale is not None and norm is None:
        return {name: tensor * scale for name, tensor in mean.items()}
    raise ConfigError(f"Expected exactly one of `scale` and `norm`, but got `scale={scale}` and `norm={norm}`.")
