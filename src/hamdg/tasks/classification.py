"""Classification of images: cross-entropy, accuracies and calibration."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nan, where
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassCalibrationError, MulticlassStatScores

Average = Literal["micro", "macro", "none"]


class Classification:
    """One class an image."""

    name = "classification"
    primary = "accuracy"
    per_class = "per_class_accuracy"

    def losses(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return each sample's cross-entropy [n] in float32."""
        return functional.cross_entropy(scores.float(), labels, reduction="none")

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        # The mean of `losses`, whose last bits are not those of cross_entropy's own mean.
        return self.losses(scores, labels).mean()

    def metrics(self, classes: int) -> MetricCollection:
        """Return accuracy, its mean over classes, its values by class, and the expected calibration error."""
        return MetricCollection(
            {
                "accuracy": Accuracy(classes, "micro"),
                "macro_accuracy": Accuracy(classes, "macro"),
                "per_class_accuracy": Accuracy(classes, "none"),
                "calibration_error": CalibrationError(classes),
            }
        )


class Accuracy(MulticlassStatScores):
    """Share of correct predictions, in double precision; classes without an image have none.

    torchmetrics' own `MulticlassAccuracy` divides in single precision, and its macro average counts a class that has no
    image as wrong as soon as one image of another class is taken for it.

    Args:
        classes: Number of classes.
        average: Over images (`micro`, DomainBed's number), over classes (`macro`), or not at all.
    """

    def __init__(self, classes: int, average: Average) -> None:
        super().__init__(num_classes=classes, average=None, validate_args=False)
        self.over = average

    def compute(self) -> Tensor:
        """Return the accuracy; without any image, or for a class that has none, it is not a number."""
        counts = super().compute().double()
        correct, images = counts[:, 0], counts[:, 4]
        if self.over == "micro":
            return correct.sum() / images.sum()
        by_class = where(images > 0, correct / images, nan)
        return by_class if self.over == "none" else by_class.nanmean()


class CalibrationError(MulticlassCalibrationError):
    """Expected calibration error of softmax confidences: 15 bins of equal width, each weighted by its images.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(num_classes=classes, n_bins=15, norm="l1", validate_args=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in scores [n, classes] and labels [n]; called once a batch."""
        # torchmetrics takes scores that happen to lie in [0, 1] for probabilities; these always are.
        super().update(preds.float().softmax(dim=1), target)


CLASSIFICATION = Classification()
