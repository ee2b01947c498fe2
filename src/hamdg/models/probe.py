"""A linear probe: logistic regression on frozen features, its strength chosen on the sources' hold-out sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hamdg.models.labeled_features import LabeledFeatures
from hamdg.models.logistic import Linear, fit_logistic, zeros

# Of scikit-learn's solver the memory, and a tenth of the tolerance.
_TOLERANCE, _MEMORY = 1e-5, 10


class Probe(NamedTuple):
    """What a search over C found.

    Args:
        classifier: The chosen classifier of features as they are, in fp32.
        strength: Its C.
        accuracies: By domain, the accuracy on its hold-out set at each C, in the order of the search.
        mean: Their mean over domains.
    """

    classifier: Linear
    strength: float
    accuracies: dict[str, list[float]]
    mean: list[float]


def fit_probe(
    train: LabeledFeatures, holdout: LabeledFeatures, classes: int, strengths: Sequence[float], *, standardize: bool
) -> Probe:
    """Fit a classifier for each C, each from the one before, and return the most accurate on the hold-out sets.

    All images count alike, whatever their domain; accuracies are averaged over domains. Of several that are as
    accurate, the first is taken.

    Args:
        train: Features [n, D] and labels [n] of every domain's training part.
        holdout: Those of its hold-out set.
        classes: How many classes there are.
        strengths: The values of C.
        standardize: Whether features are first shifted and divided by the mean and the deviation of all their values.
    """
    features = torch.cat([own for own, _ in train.values()]).double()
    labels = torch.cat([own for _, own in train.values()])
    shift, scale = (features.mean(), features.std(correction=0)) if standardize else (0.0, 1.0)
    features = (features - shift) / scale
    shares = torch.full((len(labels),), 1 / len(labels), dtype=features.dtype, device=features.device)
    accuracies: dict[str, list[float]] = {name: [] for name in holdout}
    mean: list[float] = []
    best, found = None, zeros(features, classes, bias=True)
    for strength in strengths:
        penalty = 1 / (strength * len(labels))
        found = fit_logistic(features, labels, shares, penalty, found, tolerance=_TOLERANCE, memory=_MEMORY)
        plain = unstandardized(found, shift, scale)
        for name, (own, wanted) in holdout.items():
            accuracies[name].append(float((plain.scores(own).argmax(dim=1) == wanted).double().mean()))
        mean.append(sum(own[-1] for own in accuracies.values()) / len(holdout))
        if best is None or mean[-1] > max(mean[:-1]):
            best = (plain, strength)
    assert best is not None, "there is a C"
    return Probe(*best, accuracies, mean)


def unstandardized(classifier: Linear, shift: Tensor | float, scale: Tensor | float) -> Linear:
    """Return, in fp32, the classifier of features that gives the scores of one of `(features - shift) / scale`."""
    assert classifier.bias is not None, "a shift goes into the bias"
    weight = classifier.weight / scale
    return Linear(weight.float(), (classifier.bias - shift * weight.sum(dim=1)).float())
