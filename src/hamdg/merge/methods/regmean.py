"""RegMean: merge linear layers so that their outputs stay nearest to those of every model on its own data."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.evidence import Activations, gather_by_tensor
from hamdg.merge.functional.mixtures import mixture, shares
from hamdg.merge.functional.rows import rows
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


@global_method("regmean", on="models", weights="shares", needs=("activations",))
def regmean(model_set: ModelSet, *, alpha: Annotated[float, Range(0, 1)] = 0.9) -> Rule:
    """Merge linear layers by least squares on the inputs that they see, and average all other tensors.

    W = (sum_i w_i G_i)^-1 sum_i w_i G_i W_i for W as inputs x outputs, which minimizes sum_i w_i |X_i W - X_i W_i|^2 if
    G_i = X_i^T X_i holds the inner products of a layer's inputs on the data of model i, from the evidence (see
    `hamdg.merge.evidence.Activations`). Off-diagonal entries of G_i are multiplied by alpha first. See Jin et al.,
    Dataless Knowledge Fusion, https://arxiv.org/abs/2212.09849. PyTorch keeps W_i as outputs x inputs; axes after the
    first count as inputs, so a convolution can be merged with the G_i of its unfolded inputs.

    Published values of alpha differ: .9 in the paper, none (1) as the released code's default, .1 in most of its
    configurations, .95 in FusionBench. All other tensors get the weighted average, as published.

    Ours: G_i is taken as it is given, so that a source with more examples weighs more; divide by their number if that
    is not meant. The solution is computed in float64 as the average of the models plus a correction. Where the sum of
    the G_i is singular, as for inputs that are never active and, with alpha = 1, for fewer examples than inputs, many
    solutions are equally good: the smallest correction is taken, with inputs scaled to the same size. Singular is what
    lies below the precision that the G_i are given in.

    Args:
        alpha: Factor of off-diagonal entries (the paper's value); 1 leaves them, 0 keeps the diagonal only.
    """
    assert isinstance(model_set.evidence, Activations)
    found = gather_by_tensor(model_set, "Gram matrix", model_set.evidence.gram, _shape)
    weights = shares(model_set, "regmean")

    def rule(tensor_set: TensorSet) -> Tensor:
        average = mixture(tensor_set, weights)
        if tensor_set.name not in found[model_set.sources[0]]:
            return average
        grams = [found[source][tensor_set.name] for source in model_set.sources]
        table = rows(average).double()
        total = torch.zeros_like(grams[0], dtype=torch.float64, device=table.device)
        wanted = torch.zeros_like(table)
        for share, gram, tensor in zip(weights.tolist(), grams, tensor_set.tensors.values(), strict=True):
            own = share * _damped(gram.to(total), alpha)
            total += own
            wanted += (rows(tensor) - table) @ own
        precision = max(torch.finfo(gram.dtype).eps for gram in grams) * len(total)
        table += _solved(tensor_set.name, total, wanted, precision, 1 - alpha)
        return table.view(average.shape).to(average.dtype)

    return rule


def _damped(gram: Tensor, alpha: float) -> Tensor:
    return alpha * gram + (1 - alpha) * torch.diag(gram.diagonal())


def _solved(name: str, gram: Tensor, wanted: Tensor, precision: float, least: float) -> Tensor:
    """Return the smallest X with X gram = wanted, in units in which all diagonal entries are one.

    Args:
        name: What the tensor is called.
        gram: Symmetric, with no negative eigenvalue.
        wanted: The right-hand side.
        precision: Eigenvalues below this share of the largest count as zero.
        least: A bound that no eigenvalue can be below, in those units.
    """
    diagonal = gram.diagonal()
    scale = torch.where(diagonal > 0, diagonal, 1.0).sqrt()
    scaled = gram / scale[:, None] / scale
    scaled = (scaled + scaled.T) / 2
    scaled.diagonal().masked_fill_(diagonal <= 0, 1.0)
    right = wanted / scale
    if least > precision:
        root, failed = torch.linalg.cholesky_ex(scaled)
        if int(failed):
            raise WeightsError(f"The Gram matrices for `{name}` are none: some sum of squares of inputs is negative.")
        return torch.cholesky_solve(right.T, root).T / scale
    values, vectors = torch.linalg.eigh(scaled)
    inverse = torch.where(values > precision * values.max(), 1 / values, 0.0)
    found: Tensor = (right @ vectors * inverse) @ vectors.T / scale
    return found


def _shape(tensor: Tensor) -> tuple[int, ...]:
    width = rows(tensor).shape[1]
    return (width, width)
