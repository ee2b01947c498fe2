"""What becomes of buffers: BatchNorm's statistics and counters, which are measurements and no weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from hamdg.errors import WeightsError

Tensors = Mapping[str, Tensor]
Policy = Literal["moments", "first", "refuse"]

_MEAN, _VARIANCE, _COUNT = "running_mean", "running_var", "num_batches_tracked"


def is_buffer(name: str, tensor: Tensor) -> bool:
    """Say whether a tensor is a buffer: a statistic of BatchNorm, or anything that is not floating-point."""
    return name.rpartition(".")[2] in (_MEAN, _VARIANCE, _COUNT) or not tensor.is_floating_point()


def merge_buffers(models: Mapping[str, Tensors], names: tuple[str, ...], policy: Policy) -> dict[str, Tensor]:
    """Merge the buffers of several models.

    Where all models agree on a buffer, and on the other buffers of its layer, it stays as it is under every policy:
    such statistics are frozen, measured once. Where they do not:

    - `moments` pools them, as if one layer had seen all batches (https://arxiv.org/abs/2407.13771), with n_i the number
      of batches of model i: mu = sum_i n_i mu_i / n and var = sum_i n_i (var_i + (mu_i - mu)^2) / n with n = sum_i n_i,
      which is also the merged counter. Layers without counters, or with counters of zero, get equal shares.
    - `first` takes those of the first source in alphabetical order.
    - `refuse` raises.

    Args:
        models: Tensors of every source.
        names: The buffers among them.
        policy: One of the three.

    Returns:
        Buffers by name, in the dtype of the first source, on the CPU.

    Raises:
        WeightsError: Under `refuse`, the models differ in a buffer; under `moments`, in an integer of another kind.
    """
    first = next(iter(models.values()))
    merged = {}
    for name in names:
        layer = name.rpartition(".")[0]
        group = [other for other in names if other.rpartition(".")[0] == layer]
        differing = [other for other in group if not _equal(models, other)]
        if not differing or policy == "first":
            merged[name] = first[name].detach().cpu().clone()
        elif policy == "refuse":
            raise WeightsError(
                f"The models differ in the buffer `{differing[0]}`; choose `buffers` to be `moments` (pool them) or "
                "`first` (those of the first source)."
            )
        else:
            merged[name] = _pooled(models, name, layer).to(first[name].dtype)
    return merged


def _pooled(models: Mapping[str, Tensors], name: str, layer: str) -> Tensor:
    prefix = f"{layer}." if layer else ""
    kind = name.removeprefix(prefix)
    tensors = torch.stack([_wide(model[name]) for model in models.values()])
    if kind == _COUNT:
        return tensors.sum(0)
    if kind not in (_MEAN, _VARIANCE):
        if _equal(models, name):
            return tensors[0]
        raise WeightsError(
            f"The models differ in `{name}`, which is not floating-point and cannot be averaged; take the first "
            "source's with `buffers` set to `first`."
        )
    shares = _shares(models, prefix + _COUNT).view(-1, *(1 for _ in tensors.shape[1:]))
    if kind == _MEAN:
        return (shares * tensors).sum(0)
    if any(prefix + _MEAN not in model for model in models.values()):
        raise WeightsError(f"`{name}` cannot be pooled without `{prefix}{_MEAN}`; set `buffers` to `first`.")
    means = torch.stack([_wide(model[prefix + _MEAN]) for model in models.values()])
    return (shares * (tensors + (means - (shares * means).sum(0)).square())).sum(0)


def _shares(models: Mapping[str, Tensors], counter: str) -> Tensor:
    if all(counter in model for model in models.values()):
        counts = torch.stack([model[counter].detach().cpu().double().sum() for model in models.values()])
        if bool((counts >= 0).all()) and float(counts.sum()) > 0:
            return counts / counts.sum()
    return torch.full((len(models),), 1 / len(models), dtype=torch.float64)


def _equal(models: Mapping[str, Tensors], name: str) -> bool:
    reference, *others = (model[name] for model in models.values())
    return all(torch.equal(reference, other.to(reference.device)) for other in others)


def _wide(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu()
    return plain.double() if plain.is_floating_point() else plain.long()
