"""Dtypes: their names, and floats of eight bits, which are computed in, and by default written in, something wider."""

from __future__ import annotations

import torch
from torch import Tensor


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without its module, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def is_narrow(dtype: torch.dtype) -> bool:
    """Return whether a dtype is a float of eight bits, such as `torch.float8_e4m3fn`."""
    return dtype.is_floating_point and dtype.itemsize == 1


def unless_narrow(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype itself, or bfloat16, which holds every float of eight bits exactly, instead of such a one.

    A merged value lies between those of eight bits, so that a result in eight bits has to be asked for.
    """
    return torch.bfloat16 if is_narrow(dtype) else dtype


def promoted(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    """Return a dtype that holds both, also where torch promotes none of eight bits."""
    return one if one == other else torch.promote_types(unless_narrow(one), unless_narrow(other))


def rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor on the CPU in another dtype, with NaN where a dtype of eight bits cannot hold its values.

    torch saturates: 1000 would become 448 in float8_e4m3fn, and nobody would know.
    """
    if is_narrow(dtype) and tensor.dtype != dtype:
        wide = tensor.to(unless_narrow(tensor.dtype))
        tensor = wide.masked_fill(wide.abs() > torch.finfo(dtype).max, torch.nan)
    return tensor.to("cpu", dtype)
