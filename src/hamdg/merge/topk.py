"""Exact selection of the largest scores, without sorting, over one tensor or over many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_BUCKET_BITS = 15


@torch.no_grad()
def largest(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Mark exactly the `count` largest scores over all tensors together.

    Of equal scores those that come first win: first by the order of the mapping, then by position in the tensor.

    Args:
        scores: Finite, non-negative fp32 or fp64 tensors of any shape.
        count: How many entries are marked; more than there are marks all.

    Returns:
        Boolean tensors of the scores' shapes with `count` true entries in all.
    """
    total = sum(score.numel() for score in scores.values())
    if count <= 0 or count >= total:
        return {name: torch.full_like(score, count > 0, dtype=torch.bool) for name, score in scores.items()}
    dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores.values()) else torch.float32
    flat = {name: score.to(dtype).flatten() for name, score in scores.items()}
    threshold, ties = _threshold(list(flat.values()), count)
    masks = {}
    for name, score in flat.items():
        mask = score > threshold
        tied = torch.nonzero(score == threshold).flatten()[:ties] if ties else ()
        if len(tied):
            mask[tied] = True
            ties -= len(tied)
        masks[name] = mask.view(scores[name].shape)
    return masks


def _threshold(parts: Sequence[Tensor], count: int) -> tuple[Tensor, int]:
    """Return the count-th largest score and how many entries equal to it are among the largest.

    The bits of non-negative floats are ordered like the floats. A histogram over the leading bits finds the bucket of
    the threshold in one pass, several times faster than selecting or sorting; only that bucket is searched exactly.
    """
    shift = (63 if parts[0].dtype == torch.float64 else 31) - _BUCKET_BITS
    buckets = [_bits(part) >> shift for part in parts]
    histogram = torch.stack([torch.bincount(bucket, minlength=1 << _BUCKET_BITS) for bucket in buckets]).sum(0)
    above = histogram.flip(0).cumsum(0).flip(0)
    bucket = int((above >= count).sum()) - 1
    larger = int(above[bucket] - histogram[bucket])
    inside = torch.cat([part[where == bucket] for part, where in zip(parts, buckets, strict=True)])
    threshold = inside.topk(count - larger, sorted=False).values.min()
    return threshold, count - larger - int((inside > threshold).sum())


def _bits(score: Tensor) -> Tensor:
    # Adding zero turns -0.0, whose sign bit would send it to a negative bucket, into 0.0.
    return (score + 0.0).view(torch.int64 if score.dtype == torch.float64 else torch.int32)
