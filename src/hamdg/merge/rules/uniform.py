"""Uniform average (model soup): the plain mean of all models."""

from __future__ import annotations

from torch import Tensor

from hamdg.merge.family import Site
from hamdg.merge.registry import register


@register("uniform", on="models", pieces=True)
def uniform(site: Site) -> Tensor:
    """Average the models, every source with the same weight: theta = (1/N) sum_i theta_i.

    See Wortsman et al., https://arxiv.org/abs/2203.05482.
    """
    total = site.like.new_zeros(site.like.shape)
    for tensor in site.tensors.values():
        total += tensor
    return total / len(site.tensors)
