"""Uniform average (model soup): the plain mean of all models."""

from __future__ import annotations

from torch import Tensor

from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import tensorwise_method


@tensorwise_method("uniform", on="models", linear=True)
def uniform(tensor_set: TensorSet) -> Tensor:
    """Average the models, every source with the same weight: theta = (1/N) sum_i theta_i.

    See Wortsman et al., https://arxiv.org/abs/2203.05482.
    """
    # Whole tensors, one at a time: those of mapped files in single precision are views that cost nothing.
    total: Tensor | None = None
    for tensor in tensor_set.tensors.values():
        total = tensor.clone() if total is None else total.add_(tensor)
    assert total is not None
    return total.div_(len(tensor_set.tensors))
