"""Keeps what every entry predicts while it is tested, and chooses the mistakes that the page shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.data.domain import Domain
from hamdg.data.thumbnails import thumbnails
from hamdg.runs.predictions import MapPredictions, Mistakes, TargetPredictions
from hamdg.tasks.segmentation import image_confusions, intersection_over_union


class PredictionLog:
    """The predicted class and its confidence for every image of a target, taken in batch by batch.

    Args:
        images: Number of images of the target.
    """

    def __init__(self, images: int) -> None:
        self.predicted = torch.zeros(images, dtype=torch.int64)
        self.confidence = torch.zeros(images)

    def update(self, scores: Tensor, labels: Tensor, start: int) -> None:
        """Take in scores [n, classes], labels, and the position of the first image in the target."""
        scores = scores.cpu()
        own = slice(start, start + len(scores))
        self.predicted[own] = scores.argmax(dim=1)
        self.confidence[own] = scores.float().softmax(dim=1).amax(dim=1)


class MapLog:
    """How the predicted label map of every image of a target compares with the true one, taken in batch by batch.

    Args:
        images: Number of images of the target.
        classes: Number of classes.
    """

    def __init__(self, images: int, classes: int) -> None:
        self.counts = torch.zeros(images, classes, classes, dtype=torch.int64)

    def update(self, scores: Tensor, labels: Tensor, start: int) -> None:
        """Take in scores [n, classes, h, w], label maps [n, h, w], and the position of the first image."""
        self.counts[start : start + len(scores)] = image_confusions(scores.cpu(), labels.cpu())

    @property
    def mean_iou(self) -> NDArray[np.float32]:
        """The mean IoU of every image."""
        return intersection_over_union(self.counts).nanmean(dim=-1).float().numpy()

    @property
    def pixel_accuracy(self) -> NDArray[np.float32]:
        """The share of right pixels of every image."""
        right = self.counts.diagonal(dim1=-2, dim2=-1).sum(dim=-1).double()
        return (right / self.counts.sum(dim=(-2, -1))).float().numpy()


def map_predictions(logs: Mapping[str, MapLog]) -> MapPredictions:
    """Return what is kept of the logs, by key."""
    return MapPredictions(
        {key: log.counts.sum(dim=0).numpy() for key, log in logs.items()},
        {key: log.mean_iou for key, log in logs.items()},
        {key: log.pixel_accuracy for key, log in logs.items()},
    )


def choose_mistakes(
    domains: Mapping[str, Domain], found: Mapping[str, TargetPredictions], key: str, count: int
) -> Mistakes | None:
    """Return the most confident wrong predictions of an entry on all targets; `None` if there are none to show.

    Args:
        domains: The targets.
        found: What was predicted on them.
        key: The entry.
        count: How many are kept at most.
    """
    wrong = [
        (-float(one.confidence[key][position]), name, int(position))
        for name, one in found.items()
        if key in one.predicted
        for position in np.flatnonzero((one.predicted[key] != one.labels) & np.isfinite(one.confidence[key]))
    ]
    chosen = sorted(wrong)[:count]
    if not chosen:
        return None
    images = [thumbnails(domains[name].evaluation, np.array([position]))[0] for _, name, position in chosen]
    return Mistakes(np.stack(images), tuple(name for _, name, _ in chosen), np.array([at for _, _, at in chosen]))
