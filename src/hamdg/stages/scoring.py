"""Puts the weights of any candidate into one model and predicts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hamdg.algorithms.base import Weights
from hamdg.cohort.validation import CHUNK, accuracy, predict
from hamdg.data.subset import Subset
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.stages.context import Context

# Images that are read, once, for all candidates; a multiple of what a model is given at a time.
READ = 8 * CHUNK


class Scorer:
    """Predicts with one set of image tower parameters after another.

    Args:
        context: The run.
    """

    def __init__(self, context: Context) -> None:
        self.network = context.network().to(context.device).eval()
        self.device = context.device
        self.prepare = context.preprocess

    def put(self, weights: Weights) -> ClipClassifier:
        """Return the network with these weights in it, until the next ones come."""
        self.network.load({name: weights[name] for name in self.network.weights()})
        return self.network

    def predict(self, candidates: Sequence[Weights], part: Subset) -> list[Tensor]:
        """Return every candidate's predicted classes [n]; each image is read once for all of them."""
        found: list[list[Tensor]] = [[] for _ in candidates]
        for images, _ in part.parts(READ):
            images = images.to(self.device)
            for weights, predicted in zip(candidates, found, strict=True):
                predicted.append(predict(self.put(weights), images, self.prepare).cpu())
        return [torch.cat(predicted) for predicted in found]

    def validation(self, candidates: Sequence[Weights], parts: Mapping[str, Subset]) -> list[float]:
        """Return every candidate's mean accuracy over the sources' hold-outs, against the labels that a user has."""
        totals = [0.0] * len(candidates)
        for part in parts.values():
            for index, predicted in enumerate(self.predict(candidates, part)):
                totals[index] += accuracy(predicted, part.labels)
        return [total / len(parts) for total in totals]
