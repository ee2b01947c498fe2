"""Tensors that one model holds under two names: merged once, tied again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def tied_names(models: tuple[Tensors, ...]) -> dict[str, str]:
    """Return, for every name that is another's twin, the name that stands for both.

    Two names are twins where one model holds the same memory under them and every other model the same memory or the
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
                aliases[name] = aliases.get(first, first)
    return aliases


def _same(model: Tensors, a: str, b: str) -> bool:
    # Held both at once: what a mapping computes when it is asked may be given the other's memory afterwards.
    first, second = model[a], model[b]
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)
