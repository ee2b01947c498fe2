from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from hamdg.tasks.base import Task
from hamdg.tasks.classification import Classification


def measured(scores: Tensor, labels: Tensor, classes: int, batch: int = 7) -> dict[str, Tensor]:
    """Return all metrics of a data set that comes in batches."""
    metrics: MetricCollection = Classification().metrics(classes)
    for part, own in zip(torch.split(scores, batch), torch.split(labels, batch), strict=True):
        metrics.update(part, own)
    found: dict[str, Tensor] = metrics.compute()
    return found


def random(images: int = 203, classes: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(images, classes, generator=draw), torch.randint(classes, (images,), generator=draw)


def test_accuracies_equal_the_formula_bit_for_bit() -> None:
    scores, labels = random()
    right = (scores.argmax(dim=1) == labels).double()
    found = measured(scores, labels, 5)
    assert float(found["accuracy"]) == float(right.mean())
    by_class = [float(right[labels == label].mean()) for label in range(5)]
    assert found["per_class_accuracy"].tolist() == by_class
    assert float(found["macro_accuracy"]) == pytest.approx(sum(by_class) / 5, abs=1e-15)


def test_a_class_without_images_is_left_out_even_where_it_is_predicted() -> None:
    scores = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    found = measured(scores, torch.tensor([0, 0, 1]), 3)
    first, second, third = found["per_class_accuracy"].tolist()
    assert (first, second) == (0.5, 0.0)
    assert math.isnan(third)
    assert float(found["macro_accuracy"]) == 0.25


def test_accuracy_in_many_batches_is_not_rounded_to_single_precision() -> None:
    labels = torch.zeros(7000, dtype=torch.long)
    scores = torch.nn.functional.one_hot((torch.arange(7000) >= 4987).long(), 2).float()
    assert float(measured(scores, labels, 2, batch=999)["accuracy"]) == 4987 / 7000


def slow_calibration_error(scores: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error, image by image in float64."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for row, label in zip(scores.double().tolist(), labels.tolist(), strict=True):
        powers = [math.exp(score) for score in row]
        confidence, predicted = max(powers) / sum(powers), row.index(max(row))
        bins.setdefault(min(int(confidence * 15), 14), []).append((confidence, float(predicted == label)))
    gaps = (abs(sum(right for _, right in own) - sum(sure for sure, _ in own)) for own in bins.values())
    return sum(gaps) / len(labels)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_calibration_error_equals_a_slow_reference(scale: float) -> None:
    scores, labels = random()
    error = float(measured(scale * scores, labels, 5)["calibration_error"])
    assert error == pytest.approx(slow_calibration_error(scale * scores, labels), abs=1e-6)


def test_scores_between_0_and_1_are_no_probabilities() -> None:
    scores = torch.tensor([[0.9, 0.1]])
    error = float(measured(scores, torch.tensor([0]), 2)["calibration_error"])
    assert error == pytest.approx(1 - 1 / (1 + math.exp(-0.8)), abs=1e-6)


def test_the_loss_is_the_mean_over_samples_in_float32() -> None:
    scores, labels = random()
    task: Task = Classification()
    loss = task.loss(scores.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, Classification().losses(scores.bfloat16(), labels).mean())
    assert task.primary in task.metrics(5)
