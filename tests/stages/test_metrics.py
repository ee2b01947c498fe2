from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pytest
import torch

from hamdg.data.preprocess import Preprocess
from hamdg.data.subset import Subset
from hamdg.runs.record import Metrics
from hamdg.stages.metrics import TargetMetrics
from hamdg.stages.scoring import Scored, ScoredBatch, Scorer
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


class Known(Scorer):
    """Gives scores that are known beforehand, by subset and model, in batches."""

    def __init__(self, known: Mapping[str, Sequence[torch.Tensor]], labels: Mapping[str, torch.Tensor]) -> None:
        super().__init__(torch.device("cpu"), cast("Preprocess", None))
        self.known, self.labels = known, labels

    def scores(self, models: Sequence[Scored], part: Subset) -> Iterator[ScoredBatch]:
        name = cast("str", part)
        for start in range(0, len(self.labels[name]), BATCH):
            for model, own in enumerate(self.known[name]):
                chosen = slice(start, start + BATCH)
                yield ScoredBatch(model, own[chosen], self.labels[name][chosen], start)


def test_validation_is_the_mean_over_the_sources_of_the_hand_written_accuracy() -> None:
    draw = torch.Generator().manual_seed(3)
    sizes = {"cartoon": 41, "photo": 70}
    labels = {name: torch.randint(CLASSES, (size,), generator=draw) for name, size in sizes.items()}
    known = {name: [torch.randn(size, CLASSES, generator=draw) for _ in range(2)] for name, size in sizes.items()}
    parts = cast("dict[str, Subset]", {name: name for name in sizes})
    found = Known(known, labels).validation(cast("list[Scored]", [None, None]), parts, Classification())
    for model, value in enumerate(found):
        own = [float((known[name][model].argmax(dim=1) == labels[name]).double().mean()) for name in sizes]
        assert value == sum(own) / 2


def test_a_part_without_images_has_no_accuracy(data: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    scores, labels, _ = data
    assert measured(scores, labels, torch.arange(IMAGES))["accuracy_in20"] is None
