"""Uniform average (model soup): the plain mean of all models."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hamdg.merge.registry import register

Tensors = Mapping[str, Tensor]


@register("uniform", needs_base=False)
def uniform(models: Mapping[str, Tensors], base: Tensors | None = None) -> dict[str, Tensor]:
    """Average the models, every source with the same weight: theta = (1/N) sum_i theta_i.

    See Wortsman et al., https://arxiv.org/abs/2203.05482.
    """
    return mean_vector(models)


def mean_vector(vectors: Mapping[str, Tensors]) -> dict[str, Tensor]:
    """Return the mean over the sources, tensor by tensor."""
    first, *others = (vectors[source] for source in sorted(vectors))
    merged = {}
    for name, tensor in first.items():
        total = tensor.clone()
        for other in others:
            total = total + other[name]
        merged[name] = total / len(vectors)
    return merged
