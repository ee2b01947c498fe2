"""Semantic segmentation: a class for every pixel, cross-entropy, and intersection over union."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nan, where
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

IGNORED = 255


class Segmentation:
    """One class a pixel; pixels that are labeled 255 count nowhere."""

    name = "segmentation"
    primary = "mIoU"
    per_class = "per_class_IoU"

    def losses(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return each labeled pixel's cross-entropy [pixels] in float32."""
        labels = labels.long()
        every = functional.cross_entropy(scores.float(), labels, ignore_index=IGNORED, reduction="none")
        return every[labels != IGNORED]

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the labeled pixels; 0 where there is none."""
        labels = labels.long()
        total = functional.cross_entropy(scores.float(), labels, ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)

    def metrics(self, classes: int) -> MetricCollection:
        """Return the mean IoU, its values by class, and the share of right pixels."""
        return MetricCollection(
            {
                "mIoU": IoU(classes, "macro"),
                "per_class_IoU": IoU(classes, "none"),
                "pixel_accuracy": PixelAccuracy(classes),
            }
        )


class IoU(MulticlassJaccardIndex):
    """Intersection over union, in double precision, of all pixels of a data set together.

    A class that is neither labeled nor predicted anywhere has no value and is left out of the mean; one that is
    predicted without being labeled has the value 0. torchmetrics' own mean agrees, in single precision, but by class it
    gives 0 to those that are nowhere.

    Args:
        classes: Number of classes.
        average: Over classes (`macro`), or not at all.
    """

    def __init__(self, classes: int, average: Literal["macro", "none"]) -> None:
        super().__init__(num_classes=classes, average=average, ignore_index=IGNORED, validate_args=False)
        self.over = average

    def compute(self) -> Tensor:
        """Return the value; without any labeled pixel, or for a class that is nowhere, it is not a number."""
        by_class = intersection_over_union(self.confmat)
        return by_class if self.over == "none" else by_class.nanmean()


class PixelAccuracy(MulticlassConfusionMatrix):
    """Share of labeled pixels whose class is predicted right, in double precision.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(num_classes=classes, ignore_index=IGNORED, validate_args=False)

    def compute(self) -> Tensor:
        """Return the share; without any labeled pixel it is not a number."""
        counts = self.confmat.double()
        return counts.diagonal().sum() / counts.sum()


def intersection_over_union(counts: Tensor) -> Tensor:
    """Return the IoU of every class `[..., classes]`; not a number for one that is nowhere.

    Args:
        counts: How many pixels of each class were taken for which, `[..., true, predicted]`.
    """
    counts = counts.double()
    right = counts.diagonal(dim1=-2, dim2=-1)
    union = counts.sum(dim=-1) + counts.sum(dim=-2) - right
    return where(union > 0, right / union, nan)


def image_confusions(scores: Tensor, labels: Tensor) -> Tensor:
    """Return for every image how many pixels of each class were taken for which, int64 `[n, true, predicted]`.

    Args:
        scores: Scores `[n, classes, h, w]`.
        labels: Label maps `[n, h, w]`.
    """
    images, classes = scores.shape[:2]
    labels = labels.long()
    places = (labels * classes + scores.argmax(dim=1)).flatten(1)
    # Pixels without a label fall into a place of their own.
    places = where((labels == IGNORED).flatten(1), classes**2, places)
    offsets = (classes**2 + 1) * places.new_tensor(range(images))[:, None]
    counts = (places + offsets).flatten().bincount(minlength=images * (classes**2 + 1))
    return counts.view(images, -1)[:, :-1].reshape(images, classes, classes)


def jackknife_error(counts: Tensor) -> float:
    """Return the standard error of the mean IoU over all images, by leaving out each image in turn.

    The mean IoU is no mean over images, so that there is no binomial error; the jackknife's is
    sqrt((n - 1) / n * sum_i (m_i - m)^2), with m_i the mean IoU without image i and m their mean. Images without a
    labeled pixel do not count.

    Args:
        counts: What `image_confusions` returns of all images.
    """
    counts = counts[counts.sum(dim=(-2, -1)) > 0]
    number = len(counts)
    if number < 2:
        return nan
    without = intersection_over_union(counts.sum(dim=0) - counts).nanmean(dim=-1)
    return float(((number - 1) / number * (without - without.mean()).square().sum()).sqrt())


SEGMENTATION = Segmentation()
