"""NuSLERP: spherical interpolation by weights, of whole tensors or line by line."""

from __future__ import annotations

import torch
from torch import Tensor

from hamdg.merge.functional.mixtures import Scope, Space, lengths_and_cosines, mixing, shares
from hamdg.merge.method_info import MergePlan
from hamdg.merge.methods.karcher import mean_direction
from hamdg.merge.methods.slerp import arc
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method

# The mean of more than two directions is ours, so it may be as good as float64 allows.
_TOLERANCE, _ITERATIONS = 1e-7, 100


@global_method("nuslerp", on="models", weights="shares")
def nuslerp(model_set: ModelSet, *, scope: Scope = "tensor", space: Space = "weights") -> MergePlan:
    """Interpolate between models along arcs, by weights.

    For two models with weights w_1 and w_2 this is SLERP with t = w_2 / (w_1 + w_2), 1/2 without weights: theta =
    sin((1 - t) Omega) / sin Omega theta_1 + sin(t Omega) / sin Omega theta_2, the angle Omega being that of the
    normalized vectors and the factors being applied to the vectors as they are. There is no paper: the definition is
    mergekit's (https://github.com/arcee-ai/mergekit), which takes exactly two models.

    For more than two, ours: with shares w_i and directions u_i = theta_i / |theta_i|, the mean direction on the sphere
    (see `karcher`) is a mixture sum_i c_i u_i, and theta = sum_i c_i theta_i. For two models these c_i are SLERP's
    factors; a model of weight zero changes nothing. The weighted average is taken where the directions cancel out,
    where a vector is all zero, and for two models where the sine of the angle is below 1e-6 (mergekit: 1e-8).
    Tensors in which no model differs are passed on and count in no angle.

    Args:
        scope: What vectors are: each whole tensor (mergekit's default, `nuslerp_flatten`), the rows (first axis, the
            others flattened) or the columns of a tensor, or the whole models (ours). mergekit without `nuslerp_flatten`
            takes vectors along the last axis, with `nuslerp_row_wise` as well those along the first; its documentation
            names them the other way round. Vectors and scalars are one row.
        space: Whether to interpolate the weights or the changes from a base; mergekit takes changes whenever a base
            is given.
    """
    weights = shares(model_set, "nuslerp")
    voters = weights.nonzero().flatten()

    def factors(gram: Tensor) -> Tensor:
        if len(voters) == 2:
            pair = arc(gram[..., voters[:, None], voters], float(weights[voters[1]]))
            return gram.new_zeros(gram.shape[:-1]).index_copy(-1, voters, pair)
        lengths, _ = lengths_and_cosines(gram)
        # Where directions cancel out these are the shares themselves.
        mean, _ = mean_direction(gram, weights, _TOLERANCE, _ITERATIONS)
        return torch.where(((lengths > 0) | (weights == 0)).all(-1, keepdim=True), mean, weights)

    return mixing(model_set, factors, scope=scope, space=space)
