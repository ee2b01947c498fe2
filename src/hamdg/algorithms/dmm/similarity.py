"""How alike models are, and which of them are similar enough to be merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from hamdg.config.algorithms.dmm import Compared, Similarity
from hamdg.merge.buffers import is_buffer
from hamdg.merge.geometry import norm, pairwise_cosines, task_vectors
from hamdg.models.network import Weights

# The similarity of every two models by their names, the first of which is before the second in the alphabet.
Pairs = Mapping[tuple[str, str], float]
Measure = Callable[[Mapping[str, Weights], Weights], dict[tuple[str, str], float]]

_TOWERS: tuple[Compared, ...] = ("image", "text")
_MEAN, _VARIANCE = "running_mean", "running_var"
# What a variance is at least, as a share of its layer's mean: differences are divided by it.
_FLOOR = 1e-2


def task_vector_cosines(models: Mapping[str, Weights], start: Weights) -> dict[tuple[str, str], float]:
    """Return the cosines of the task vectors theta_i - theta_0; statistics of BatchNorm take no part."""
    return _cosines(task_vectors(models, start))


def weight_cosines(models: Mapping[str, Weights], start: Weights) -> dict[tuple[str, str], float]:
    """Return the cosines of the weights themselves, which need no common start."""
    weights = {
        name: {key: tensor for key, tensor in own.items() if not is_buffer(key, tensor)} for name, own in models.items()
    }
    return _cosines(weights)


def statistics_nearness(models: Mapping[str, Weights], start: Weights) -> dict[tuple[str, str], float]:
    """Return 1 / (1 + d) of the statistics of BatchNorm: 1 where they are equal, near 0 where nothing is alike.

    d is the mean over channels, and then over layers, of the squared 2-Wasserstein distance of two Gaussians, in units
    of their mean variance: ((mu_i - mu_j)^2 + (sd_i - sd_j)^2) / ((var_i + var_j) / 2).
    """
    names = sorted(models)
    layers = [name.removesuffix(_MEAN) for name in models[names[0]] if _is_mean(name)]
    found = {}
    for one, other in combinations(names, 2):
        distances = [_distance(models[one], models[other], layer) for layer in layers]
        found[one, other] = 1 / (1 + sum(distances) / len(distances))
    return found


MEASURES: Mapping[Similarity, Measure] = {
    "task_vectors": task_vector_cosines,
    "weights": weight_cosines,
    "statistics": statistics_nearness,
}
"""What `dmm.merge.similarity` can be: a further measure is a function here and its name there."""


def by_tower(
    measure: Measure, models: Mapping[str, Weights], start: Weights, tower_of: Callable[[str], str]
) -> dict[Compared, dict[tuple[str, str], float]]:
    """Return the similarities of whole models (`both`), and of each of their towers where they have two.

    Args:
        measure: One of `MEASURES`.
        models: The models.
        start: What they started from.
        tower_of: Gives the tower of a tensor's name; empty where there is one.
    """
    found: dict[Compared, dict[tuple[str, str], float]] = {"both": measure(models, start)}
    for tower in _TOWERS if any(map(tower_of, start)) else ():
        parts = {name: _only(own, tower, tower_of) for name, own in models.items()}
        # A text tower has no statistics.
        if measure is not statistics_nearness or any(map(_is_mean, parts[min(parts)])):
            found[tower] = measure(parts, _only(start, tower, tower_of))
    return found


def similar_groups(names: Sequence[str], pairs: Pairs, threshold: float) -> list[list[str]]:
    """Return groups of models, the largest first: the connected parts of the graph of similar pairs.

    Of groups of one size the one whose members are more alike comes first, then the first in the alphabet, so that the
    order of the models does not matter.

    Args:
        names: The models.
        pairs: The similarity of every two of them.
        threshold: Models that are more similar than this are joined.
    """
    groups = [{name} for name in sorted(names)]
    for (one, other), value in pairs.items():
        first = next(group for group in groups if one in group)
        second = next(group for group in groups if other in group)
        if value > threshold and first is not second:
            groups.remove(second)
            first |= second
    return sorted(map(sorted, groups), key=lambda group: (-len(group), -_within(group, pairs), group))


def departure(models: Mapping[str, Weights], start: Weights) -> float:
    """Return the mean length of the task vectors in units of the start's length: how far training led away from it."""
    vectors = task_vectors(models, start)
    length = norm({name: tensor for name, tensor in start.items() if not is_buffer(name, tensor)})
    return sum(map(norm, vectors.values())) / len(vectors) / length if length else float("inf")


def start_alike(starts: Mapping[str, Weights]) -> bool:
    """Return whether all models were trained from the very same weights."""
    first, *others = starts.values()
    return all(
        one.keys() == first.keys() and all(torch.equal(one[name], first[name]) for name in first) for one in others
    )


def _only(weights: Weights, tower: str, tower_of: Callable[[str], str]) -> Weights:
    return {name: tensor for name, tensor in weights.items() if tower_of(name) == tower}


def _is_mean(name: str) -> bool:
    return name.endswith(_MEAN)


def _cosines(vectors: Mapping[str, Mapping[str, Tensor]]) -> dict[tuple[str, str], float]:
    names = sorted(vectors)
    whole = pairwise_cosines(vectors)
    return {(one, other): whole[f"{one}|{other}"][""] for one, other in combinations(names, 2)}


def _within(group: Sequence[str], pairs: Pairs) -> float:
    own = [pairs[pair] for pair in combinations(group, 2)]
    return sum(own) / len(own) if own else 0.0


def _distance(one: Weights, other: Weights, layer: str) -> float:
    means = [model[layer + _MEAN].double() for model in (one, other)]
    variances = [model[layer + _VARIANCE].double() for model in (one, other)]
    squared = (means[0] - means[1]).square() + (variances[0].sqrt() - variances[1].sqrt()).square()
    unit = (variances[0] + variances[1]) / 2
    floor = _FLOOR * float(unit.mean())
    # Without any variance, equal means are equal statistics.
    return float((squared / unit.clamp_min(floor or 1.0)).mean())
