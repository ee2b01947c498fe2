"""Tensors and models as mappings of them: dtypes, non-finite values, digests, and tensors that have two names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

# A model: its tensors by name.
Tensors = Mapping[str, Tensor]


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

    torch saturates: 1000 would become 448 in float8_e4m3fn, without any notice.
    """
    if is_narrow(dtype) and tensor.dtype != dtype:
        wide = tensor.to(unless_narrow(tensor.dtype))
        tensor = wide.masked_fill(wide.abs() > torch.finfo(dtype).max, torch.nan)
    return tensor.to("cpu", dtype)


def is_finite(tensor: Tensor) -> bool:
    """Return whether all of a tensor's values are numbers; one fast pass if they are."""
    # A sum in double precision would take four times as long; large numbers may make this one overflow, no more.
    wide = promoted(tensor.dtype, torch.float32)
    return math.isfinite(float(tensor.sum(dtype=wide))) or bool(torch.isfinite(tensor.to(wide)).all())


def equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values, whatever their dtypes and devices; fast where they do not."""
    # Of two tensors in the same memory torch looks for NaN, which it cannot do in eight bits.
    dtype = unless_narrow(promoted(one.dtype, other.dtype))
    return torch.equal(one.to(dtype), other.to(one.device, dtype))


def differ(tensors: list[Tensor]) -> bool:
    """Return whether any of several tensors is not the same as the first; fast where they are not."""
    first, *others = (tensor.detach() for tensor in tensors)
    return any(not equal(first, other) for other in others)


def sha256_tensor(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values, as they lie in memory when contiguous; neither shape nor dtype count."""
    return hashlib.sha256(_content(tensor)).hexdigest()


def sha256_tensors(tensors: Tensors) -> str:
    """Return the SHA-256 of a model: of all names and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_content(tensors[name]))
    return digest.hexdigest()


def tied_names(models: tuple[Tensors, ...]) -> dict[str, str]:
    """Return, for every name that is tied to another, the name that stands for both.

    Two names are tied where one model holds the same memory under them and every other model the same memory or the
    same values (files of some kinds store each name apart).

    Args:
        models: All models of a merge, the base among them.
    """
    aliases: dict[str, str] = {}
    for model in models:
        seen: dict[object, str] = {}
        for name in sorted(model):
            tensor = model[name]
            if tensor.numel() == 0 or tensor.device.type == "meta":
                continue
            place = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            first = seen.setdefault(place, name)
            if first != name and name not in aliases and all(_same(other, first, name) for other in models):
                aliases[name] = first
    # Another model may tie the name that stands for two to a third one.
    return {name: _end_of(name, aliases) for name in aliases}


def _same(model: Tensors, a: str, b: str) -> bool:
    # Held both at once: what a mapping computes when it is asked may be given the other's memory afterwards.
    first, second = model[a], model[b]
    return first.data_ptr() == second.data_ptr() or (first.dtype == second.dtype and equal(first, second))


def _end_of(name: str, aliases: Mapping[str, str]) -> str:
    # Each is tied to a name before it in the alphabet.
    while name in aliases:
        name = aliases[name]
    return name


def _content(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data if plain.numel() else memoryview(b"")
