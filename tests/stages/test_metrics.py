from __future__ import annotations

import pytest
import torch

from hamdg.runs.record import Metrics
from hamdg.stages.metrics import TargetMetrics
from hamdg.tasks.classification import Classification

CLASSES, IMAGES, BATCH = 4, 103, 16


def measured(scores: torch.Tensor, labels: torch.Tensor, inside: torch.Tensor) -> Metrics:
    metrics = TargetMetrics(Classification(), CLASSES, len(labels), inside)
    for start in range(0, len(labels), BATCH):
        metrics.update(scores[start : start + BATCH], labels[start : start + BATCH], start)
    return metrics.compute()


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scores, labels (no image of the last class) and the positions of the 80 % part."""
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(IMAGES, CLASSES, generator=draw), torch.randint(CLASSES - 1, (IMAGES,), generator=draw)
    return scores, labels, torch.randperm(IMAGES, generator=draw)[: int(0.8 * IMAGES)]


def test_every_accuracy_equals_the_hand_written_formula(data: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    scores, labels, inside = data
    found = measured(scores, labels, inside)
    right = (scores.argmax(dim=1) == labels).double()
    outside = [position for position in range(IMAGES) if position not in inside.tolist()]
    by_class = [float(right[labels == label].mean()) for label in range(CLASSES - 1)]
    assert found["accuracy"] == float(right.mean())
    assert found["accuracy_in80"] == float(right[inside].mean())
    assert found["accuracy_in20"] == float(right[outside].mean())
    assert found["per_class_accuracy"] == [*by_class, None]
    assert found["macro_accuracy"] == pytest.approx(sum(by_class) / 3, abs=1e-15)
    assert found["images"] == IMAGES
    assert isinstance(found["calibration_error"], float)


def test_a_part_without_images_has_no_accuracy(data: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    scores, labels, _ = data
    assert measured(scores, labels, torch.arange(IMAGES))["accuracy_in20"] is None
