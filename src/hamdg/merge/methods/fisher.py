"""Fisher merging: average every entry by how much each model's own data depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.evidence import Gradients, gather_by_tensor
from hamdg.merge.functional.mixtures import shares
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Range

Statistics = Mapping[str, Mapping[str, Tensor]]


@global_method("fisher", on="models", weights="shares", needs=("gradients",))
def fisher(
    model_set: ModelSet, *, floor: Annotated[float, Range(0, above=True)] = 1e-6, normalize: bool = True
) -> Rule:
    """Average the models, every entry weighted by its Fisher information.

    theta = sum_i w_i F_i theta_i / sum_i w_i F_i, entry by entry, where F_i is the diagonal Fisher information of model
    i on its own data (`hamdg.merge.evidence.Gradients`): the mean over examples of the squared gradient of log p(y|x),
    per example and with y drawn from the model. See Matena and Raffel, https://arxiv.org/abs/2111.09832.

    The floor and the normalization are those of the released code: F_i is raised to the floor, then divided by the L2
    norm that F_i has over all tensors without the floor. Ours: every model gets the floor, as none is the target of the
    merge (by default the released code gives it to the first, target model only), so that an entry on which no data
    depend is an average with weights w_i over that norm. Tensors without Fisher information are averaged with weights
    w_i. The norm is taken over tensors in which the models differ. Equal weights are the default; the paper searches
    them on validation data.

    Args:
        floor: Smallest Fisher information of an entry (the released code's 1e-6).
        normalize: Whether each model's Fisher information is divided by its norm (the released code does).
    """
    assert isinstance(model_set.evidence, Gradients)
    found = gather_by_tensor(model_set, "Fisher information", model_set.evidence.fisher, _shape)
    _check_signs(found)
    factors = dict(zip(model_set.sources, shares(model_set, "fisher").tolist(), strict=True))
    if normalize:
        factors = {source: share / _norm(found[source]) for source, share in factors.items()}

    def rule(tensor_set: TensorSet) -> Tensor:
        known = {
            source: found[source][tensor_set.name].reshape(-1) for source in found if tensor_set.name in found[source]
        }
        return tensor_set.by_pieces(lambda piece: _average(piece, known, factors, floor))

    return rule


def _average(tensor_set: TensorSet, found: Mapping[str, Tensor], factors: Mapping[str, float], floor: float) -> Tensor:
    total = torch.zeros_like(tensor_set.like, dtype=torch.float64)
    weights = torch.zeros_like(total)
    for source, tensor in tensor_set.tensors.items():
        if found:
            piece = found[source][tensor_set.start : tensor_set.start + total.numel()]
            weight = piece.to(total).clamp(min=floor).mul_(factors[source])
        else:
            weight = torch.full_like(total, tensor_set.weight(source))
        weights += weight
        total += weight.mul_(tensor)
    return (total / weights).to(tensor_set.like.dtype)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _check_signs(found: Statistics) -> None:
    for source, own in found.items():
        for name, tensor in own.items():
            if bool((tensor < 0).any()):
                raise WeightsError(
                    f"The Fisher information of `{source}` for `{name}` is negative; it is a mean of squares."
                )


def _norm(found: Mapping[str, Tensor]) -> float:
    squares = [torch.linalg.vector_norm(found[name], dtype=torch.float64).square() for name in sorted(found)]
    return float(torch.stack(squares).sum().sqrt()) or 1.0 if squares else 1.0
