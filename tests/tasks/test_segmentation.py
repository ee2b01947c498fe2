from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from hamdg.tasks.registry import TASKS
from hamdg.tasks.segmentation import (
    IGNORED,
    SEGMENTATION,
    image_confusions,
    intersection_over_union,
    jackknife_error,
)

CLASSES, IMAGES, SIDE = 5, 7, 9


def one_hot_scores(predicted: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(predicted, classes).permute(0, 3, 1, 2).float()


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    """Return scores and label maps: a tenth of the pixels is ignored, and the last class is labeled nowhere."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(IMAGES, CLASSES, SIDE, SIDE, generator=draw)
    labels = torch.randint(CLASSES - 1, (IMAGES, SIDE, SIDE), generator=draw)
    labels[torch.rand(labels.shape, generator=draw) < 0.1] = IGNORED
    return scores, labels.to(torch.uint8)


def slow_iou(predicted: Tensor, labels: Tensor, classes: int) -> list[float]:
    """The definition, with sets of pixels; not a number for a class that is nowhere."""
    found = []
    taken, true = predicted.flatten().tolist(), labels.flatten().tolist()
    known = [place for place, label in enumerate(true) if label != 255]
    for wanted in range(classes):
        own = {place for place in known if taken[place] == wanted}
        right = {place for place in known if true[place] == wanted}
        found.append(len(own & right) / len(own | right) if own | right else math.nan)
    return found


def test_metrics_by_hand() -> None:
    # Of eight pixels one is ignored, so that class 3 is nowhere.
    labels = torch.tensor([[[0, 0, 1, 1], [1, 2, 2, 255]]], dtype=torch.uint8)
    predicted = torch.tensor([[[0, 0, 1, 1], [0, 2, 1, 3]]])
    metrics = SEGMENTATION.metrics(4)
    metrics.update(one_hot_scores(predicted, 4), labels)
    found = metrics.compute()
    assert found["per_class_IoU"].tolist()[:3] == [2 / 3, 2 / 4, 1 / 2]
    assert math.isnan(found["per_class_IoU"][3])
    assert float(found["mIoU"]) == (2 / 3 + 2 / 4 + 1 / 2) / 3
    assert float(found["pixel_accuracy"]) == 5 / 7


def test_a_class_that_is_predicted_but_not_labeled_counts_as_nothing_right() -> None:
    labels, predicted = torch.tensor([[[0, 0]]]), torch.tensor([[[0, 1]]])
    metrics = SEGMENTATION.metrics(3)
    metrics.update(one_hot_scores(predicted, 3), labels)
    found = metrics.compute()
    assert found["per_class_IoU"].tolist()[:2] == [0.5, 0.0]
    assert float(found["mIoU"]) == 0.25


def test_metrics_equal_a_slow_reference_batch_by_batch(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    metrics = SEGMENTATION.metrics(CLASSES)
    for start in range(0, IMAGES, 3):
        metrics.update(scores[start : start + 3], labels[start : start + 3])
    found = metrics.compute()
    expected = slow_iou(scores.argmax(dim=1), labels, CLASSES)
    assert found["per_class_IoU"].tolist() == pytest.approx(expected, abs=1e-15)
    assert float(found["mIoU"]) == pytest.approx(float(np.nanmean(expected)), abs=1e-15)
    known = labels != IGNORED
    assert float(found["pixel_accuracy"]) == float((scores.argmax(dim=1) == labels)[known].double().mean())


def test_the_mean_is_that_of_torchmetrics_and_absent_classes_are_not_zero(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    # Nobody predicts the last two classes, and the last is not labeled either.
    scores[:, 3:] = -100
    plain = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORED)
    by_class = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORED, average="none")
    own = SEGMENTATION.metrics(CLASSES)
    for metric in (plain, by_class, own):
        metric.update(scores, labels.long())
    assert float(own.compute()["mIoU"]) == pytest.approx(float(plain.compute()), rel=1e-6)
    # Theirs gives 0 to a class that is nowhere, as to one that is never found.
    assert by_class.compute()[3:].tolist() == [0.0, 0.0]
    assert own.compute()["per_class_IoU"][3] == 0.0
    assert math.isnan(own.compute()["per_class_IoU"][4])


def test_the_loss_is_the_mean_over_labeled_pixels(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    logs = scores.double().log_softmax(dim=1)
    losses = [
        -float(logs[image, int(labels[image, row, column]), row, column])
        for image in range(IMAGES)
        for row in range(SIDE)
        for column in range(SIDE)
        if labels[image, row, column] != IGNORED
    ]
    assert float(SEGMENTATION.loss(scores, labels)) == pytest.approx(math.fsum(losses) / len(losses), rel=1e-6)
    assert SEGMENTATION.losses(scores, labels).tolist() == pytest.approx(losses, rel=1e-4)
    assert SEGMENTATION.losses(scores.bfloat16(), labels).dtype == torch.float32


def test_images_without_a_label_have_no_loss_and_no_gradient(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    scores.requires_grad_()
    loss = SEGMENTATION.loss(scores, torch.full_like(labels, IGNORED))
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_ignored_pixels_do_not_matter(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    others = torch.where((labels == IGNORED)[:, None], torch.randn_like(scores), scores)
    assert torch.equal(image_confusions(scores, labels), image_confusions(others, labels))
    assert float(SEGMENTATION.loss(scores, labels)) == pytest.approx(float(SEGMENTATION.loss(others, labels)), rel=1e-6)


def test_confusions_of_images_add_up_to_the_metrics(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    counts, taken_for = image_confusions(scores, labels), scores.argmax(dim=1)
    for image in range(IMAGES):
        slow = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
        for true, taken in zip(labels[image].flatten().tolist(), taken_for[image].flatten().tolist(), strict=True):
            if true != IGNORED:
                slow[true, taken] += 1
        assert torch.equal(counts[image], slow)
    metrics = SEGMENTATION.metrics(CLASSES)
    metrics.update(scores, labels)
    whole = intersection_over_union(counts.sum(dim=0))
    assert torch.equal(whole.nan_to_num(-1), metrics.compute()["per_class_IoU"].nan_to_num(-1))


def test_the_jackknife_leaves_out_each_image(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    values = []
    for left_out in range(IMAGES):
        kept = [image for image in range(IMAGES) if image != left_out]
        values.append(float(np.nanmean(slow_iou(scores[kept].argmax(dim=1), labels[kept], CLASSES))))
    expected = math.sqrt((IMAGES - 1) / IMAGES * sum((value - np.mean(values)) ** 2 for value in values))
    counts = image_confusions(scores, labels)
    assert jackknife_error(counts) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(jackknife_error(counts[:1]))
    # An image without a labeled pixel says nothing.
    blank = torch.cat([counts, torch.zeros_like(counts[:1])])
    assert jackknife_error(blank) == pytest.approx(expected, rel=1e-12)


def test_the_error_of_equal_images_is_none(data: tuple[Tensor, Tensor]) -> None:
    counts = image_confusions(*data)[:1].repeat(4, 1, 1)
    assert jackknife_error(counts) == pytest.approx(0.0, abs=1e-12)


def test_tasks_go_by_their_names() -> None:
    assert {name: task.primary for name, task in TASKS.items()} == {
        "classification": "accuracy",
        "segmentation": "mIoU",
    }
    assert all(task.per_class in task.metrics(3) and task.primary in task.metrics(3) for task in TASKS.values())
