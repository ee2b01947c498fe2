"""Which labels look wrong: confident learning (Northcutt et al., https://arxiv.org/abs/1911.00068) on frozen features.

Probabilities come from linear probes that did not see the image: cross-fitted in folds within its own source. Between
sources, each one's probe is asked about the others' images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hamdg.data.splits import seed_hash
from hamdg.models.labeled_features import LabeledFeatures
from hamdg.models.logistic import Linear, fit_logistic, zeros

FOLDS = 5
# Penalties of the probe from strong to weak; of these, the best one on the images of the other folds is taken.
PENALTIES = (1e-2, 1e-3, 1e-4)
# A class with fewer images in a source is not judged there.
FEWEST = FOLDS
# Of a linear probe, as in `hamdg.models.probe`.
_TOLERANCE, _MEMORY = 1e-4, 10


class Suspect(NamedTuple):
    """An image whose label looks wrong.

    Args:
        place: Its place among the images that were looked at.
        given: Its label.
        suggested: The class that it looks like.
        probability: Of the given label, under a model that did not see it.
        of_suggested: The probability of the suggested class.
    """

    place: int
    given: int
    suggested: int
    probability: float
    of_suggested: float


class Suspects(NamedTuple):
    """What looks wrong in one source.

    Args:
        found: The images, those that the model is surest about first.
        share: An upper estimate of the share of wrong labels: the part of the confident joint off its diagonal. Hard
            images count as well, so that it is above zero where all labels are right.
        accuracy: Of the probe on images that it did not see, against the given labels.
        probabilities: Its probabilities [n, classes].
    """

    found: list[Suspect]
    share: float
    accuracy: float
    probabilities: Tensor


class Contradiction(NamedTuple):
    """A class whose images in one source look like another class to the other sources.

    Args:
        source: The source.
        given: The class.
        looks_like: The other class.
        share: The share of its images that the other sources' probes take for the other class.
        right: The share that they take for the class itself.
        mutual: Whether the other class looks like this one in turn: labels that are swapped.
    """

    source: str
    given: int
    looks_like: int
    share: float
    right: float
    mutual: bool


def centered(found: LabeledFeatures) -> dict[str, tuple[Tensor, Tensor]]:
    """Return features in double precision, minus the mean of their source, divided by their mean length there.

    What all images of a source have in common tells no classes apart, but misleads the probe of another source.
    """
    moved = {name: (own.double() - own.double().mean(dim=0), labels) for name, (own, labels) in found.items()}
    return {
        name: (own / own.norm(dim=1).mean().clamp(min=1e-12), labels.to(own.device))
        for name, (own, labels) in moved.items()
    }


def suspects(features: Tensor, labels: Tensor, classes: int, seed: int) -> Suspects:
    """Return which labels of one source look wrong.

    Args:
        features: Centered features [n, d] in double precision.
        labels: Given labels [n].
        classes: How many classes there are.
        seed: Draws the folds.
    """
    probabilities = cross_fitted(features, labels, classes, seed)
    accuracy = float((probabilities.argmax(dim=1) == labels).double().mean())
    confident = confident_classes(probabilities, labels)
    counts = torch.bincount(labels, minlength=classes)
    chosen = torch.nonzero((confident >= 0) & (confident != labels) & (counts[labels] >= FEWEST))[:, 0].tolist()
    found = [
        Suspect(
            index,
            int(labels[index]),
            int(confident[index]),
            float(probabilities[index, labels[index]]),
            float(probabilities[index, confident[index]]),
        )
        for index in chosen
    ]
    found.sort(key=lambda one: (one.probability - one.of_suggested, one.place))
    return Suspects(found, wrong_share(confident, labels, classes), accuracy, probabilities)


def cross_fitted(features: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """Return the probabilities [n, classes] of images under probes that were fitted without them.

    Args:
        features: Features [n, d] in double precision.
        labels: Labels [n].
        classes: How many classes there are.
        seed: Draws the folds, each with its part of every class.
    """
    folds = _folds(labels, seed)
    found = [zeros(features, classes, bias=True) for _ in range(FOLDS)]
    best, lowest = torch.empty(0), float("inf")
    for penalty in PENALTIES:
        logs = torch.zeros(len(labels), classes, dtype=features.dtype, device=features.device)
        for fold in range(FOLDS):
            inside, outside = folds != fold, folds == fold
            found[fold] = _probe(features[inside], labels[inside], penalty, found[fold])
            logs[outside] = found[fold].scores(features[outside]).log_softmax(dim=1)
        loss = -float(logs.gather(1, labels[:, None]).mean())
        if loss >= lowest:
            break
        best, lowest = logs.exp(), loss
    return best


def confident_classes(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return for each image [n] the class that it is confidently taken for, or -1.

    These are the classes whose probability is at least its mean over the images that are labeled with the class; of
    several, the most probable one.
    """
    present = torch.nn.functional.one_hot(labels, probabilities.shape[1]).to(probabilities)
    counts = present.sum(dim=0)
    thresholds = (present * probabilities).sum(dim=0) / counts.clamp(min=1)
    above = (probabilities >= thresholds - 1e-12) & (counts >= FEWEST)
    best = probabilities.masked_fill(~above, -1.0).max(dim=1)
    return torch.where(best.values >= 0, best.indices, -1)


def wrong_share(confident: Tensor, labels: Tensor, classes: int) -> float:
    """Return the part off the diagonal of the confident joint, its rows brought to the numbers of given labels.

    Classes with few images are never confident, so that their images would all look wrong: they do not count.
    """
    judged = torch.bincount(labels, minlength=classes)[labels] >= FEWEST
    confident, labels = confident[judged], labels[judged]
    known = confident >= 0
    cells = labels[known] * classes + confident[known]
    joint = torch.bincount(cells, minlength=classes * classes).view(classes, classes).double()
    totals = joint.sum(dim=1)
    wrong = torch.where(totals > 0, 1 - joint.diagonal() / totals.clamp(min=1), 0.0)
    counts = torch.bincount(labels, minlength=classes).double()
    return float((wrong * counts).sum() / counts.sum().clamp(min=1))


def taken_for(found: LabeledFeatures, classes: int) -> dict[str, Tensor]:
    """Return of each source what the other sources' probes take its images for.

    Args:
        found: Centered features and labels by source.
        classes: How many classes there are.

    Returns:
        Shares [classes, classes]: of the images of each given class (rows; of a class without images zeros), the share
        that is taken for each class, averaged over the probes of the other sources.
    """
    probes = {
        name: _probe(own, labels, PENALTIES[1], zeros(own, classes, bias=True)) for name, (own, labels) in found.items()
    }
    tables = {}
    for name, (own, labels) in found.items():
        given = torch.nn.functional.one_hot(labels, classes).double()
        counts = given.sum(dim=0)[:, None].clamp(min=1)
        guesses = [probe.scores(own).argmax(dim=1) for other, probe in probes.items() if other != name]
        hits = [given.T @ torch.nn.functional.one_hot(guess, classes).double() / counts for guess in guesses]
        tables[name] = torch.stack(hits).mean(dim=0)
    return tables


def contradictions(tables: Mapping[str, Tensor], found: LabeledFeatures) -> list[Contradiction]:
    """Return the classes of each source that the other sources systematically take for another class.

    That is a class c whose images are taken for d more often than for c, and more often than the source's images of any
    other class are, d included; both by more than two standard errors. Of n images, the difference of two shares p and
    q has at most the standard error sqrt((p + q - (p - q)^2) / n); the difference to a share r of m other images has at
    most sqrt(p (1 - p) / n + r (1 - r) / m). The second condition leaves out probes that take most of a strange domain
    for one and the same class.

    Args:
        tables: What `taken_for` returns.
        found: The features and labels that it was made of.
    """
    result = []
    for name, table in tables.items():
        counts = torch.bincount(found[name][1], minlength=len(table)).tolist()
        clear = {label: _clearly(table, counts, label) for label in range(len(table))}
        for label, other in clear.items():
            if other is not None:
                share, right = float(table[label, other]), float(table[label, label])
                result.append(Contradiction(name, label, other, share, right, clear[other] == label))
    return result


def _clearly(table: Tensor, counts: Sequence[int], label: int) -> int | None:
    """Return which class a class is clearly taken for instead of itself, if any."""
    if counts[label] < FEWEST:
        return None
    others = table[label].clone()
    others[label] = -1.0
    other = int(others.argmax())
    if counts[other] < FEWEST:
        return None
    share, right = float(table[label, other]), float(table[label, label])
    if share - right <= 2 * math.sqrt((share + right - (share - right) ** 2) / counts[label]):
        return None
    for rival, count in enumerate(counts):
        rate = float(table[rival, other])
        variance = share * (1 - share) / counts[label] + rate * (1 - rate) / max(count, 1)
        if rival != label and share - rate <= 2 * math.sqrt(variance):
            return None
    return other


def _probe(features: Tensor, labels: Tensor, penalty: float, start: Linear) -> Linear:
    shares = torch.full((len(labels),), 1 / len(labels), dtype=features.dtype, device=features.device)
    return fit_logistic(features, labels, shares, penalty, start, tolerance=_TOLERANCE, memory=_MEMORY)


def _folds(labels: Tensor, seed: int) -> Tensor:
    """Return the fold [n] of each image, so that every fold has its part of every class."""
    generator = torch.Generator().manual_seed(seed_hash("folds", seed))
    shuffled = torch.randperm(len(labels), generator=generator).to(labels.device)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    folds = torch.empty_like(labels)
    folds[by_class] = torch.arange(len(labels), device=labels.device) % FOLDS
    return folds
