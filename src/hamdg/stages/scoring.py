"""Puts the weights of any candidate into one model and predicts with it."""

from __future__ import annotations

import torch
from torch import Tensor

from hamdg.algorithms.base import Weights
from hamdg.cohort.source_model import SourceModel
from hamdg.cohort.validation import accuracy, predict
from hamdg.data.batches import Batch, take
from hamdg.data.module import SourceData
from hamdg.stages.context import Context


class Scorer:
    """Predicts with one set of image tower parameters after another.

    Args:
        context: The run.
    """

    def __init__(self, context: Context) -> None:
        self.model = context.new_model(()).to(context.device).eval()
        self.prepare = context.input_format

    def put(self, weights: Weights) -> SourceModel:
        """Return the model with these weights in it, until the next ones come."""
        with torch.no_grad():
            for name, parameter in self.model.trainable().items():
                parameter.copy_(weights[name])
        return self.model

    def predict(self, weights: Weights, images: Tensor) -> Tensor:
        """Return the predicted classes [n] of uint8 pictures [n, h, w, 3]."""
        return predict(self.put(weights), images.to(self.model.device), self.prepare)

    def validation(self, weights: Weights, parts: dict[str, Batch]) -> float:
        """Return the mean over the source domains of the accuracy on their hold-outs, labels as a user has them."""
        pictures = torch.cat([part.images for part in parts.values()])
        sizes = [len(part.labels) for part in parts.values()]
        predicted = torch.split(self.predict(weights, pictures).cpu(), sizes)
        values = [accuracy(own, part.labels) for own, part in zip(predicted, parts.values(), strict=True)]
        return sum(values) / len(values)


def source_holdouts(context: Context) -> dict[str, Batch]:
    """Return the hold-out of every source domain."""
    data = SourceData(context.recipe, context.input_format)
    data.setup()
    return holdouts(data)


def holdouts(data: SourceData) -> dict[str, Batch]:
    """Return the hold-out of every domain of opened data."""
    return {name: take(data.domains[name], data.validation_part[name]) for name in data.domains}
