"""The evaluation's pieces on label maps: metrics of a target, what is kept of predictions, and what pages show."""

from __future__ import annotations

import copy
import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from hamdg.report.by_class import by_class
from hamdg.report.evidence import Evidence
from hamdg.report.page import report_html
from hamdg.report.result import result
from hamdg.report.table import format_text
from hamdg.runs.predictions import MapPredictions, Predictions
from hamdg.runs.record import Metrics, Record, checked
from hamdg.stages.metrics import TargetMetrics
from hamdg.stages.predictions import MapLog, map_predictions
from hamdg.tasks.segmentation import IGNORED, SEGMENTATION, intersection_over_union

CLASSES, IMAGES, SIDE, BATCH = 4, 11, 8, 3


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES, SIDE, SIDE), generator=draw)
    labels[:, :2] = IGNORED
    return torch.randn(IMAGES, CLASSES, SIDE, SIDE, generator=draw), labels.to(torch.uint8)


def mean_iou(scores: Tensor, labels: Tensor) -> float:
    metric = SEGMENTATION.metrics(CLASSES)["mIoU"]
    metric.update(scores, labels)
    return float(metric.compute())


def test_metrics_of_a_target_and_its_parts(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    inside = torch.tensor([0, 2, 3, 4, 6, 7, 8, 10])
    metrics = TargetMetrics(SEGMENTATION, CLASSES, IMAGES, inside)
    for start in range(0, IMAGES, BATCH):
        metrics.update(scores[start : start + BATCH], labels[start : start + BATCH], start)
    found = metrics.compute()
    outside = torch.tensor([1, 5, 9])
    assert found["mIoU"] == mean_iou(scores, labels)
    assert found["mIoU_in80"] == mean_iou(scores[inside], labels[inside])
    assert found["mIoU_in20"] == mean_iou(scores[outside], labels[outside])
    assert found["mIoU"] == pytest.approx(np.mean(cast("list[float]", found["per_class_IoU"])), abs=1e-15)
    assert (found["images"], set(found)) == (
        IMAGES,
        {"mIoU", "mIoU_in80", "mIoU_in20", "per_class_IoU", "pixel_accuracy", "images"},
    )


def test_the_log_keeps_figures_of_every_image(data: tuple[Tensor, Tensor]) -> None:
    scores, labels = data
    labels[4] = IGNORED
    log = MapLog(IMAGES, CLASSES)
    for start in range(0, IMAGES, BATCH):
        log.update(scores[start : start + BATCH], labels[start : start + BATCH], start)
    found = map_predictions({"ham": log})
    for image in range(IMAGES):
        if image == 4:
            assert math.isnan(found.mean_iou["ham"][image])
            assert math.isnan(found.pixel_accuracy["ham"][image])
            continue
        own = slice(image, image + 1)
        assert found.mean_iou["ham"][image] == pytest.approx(mean_iou(scores[own], labels[own]), rel=1e-6)
        right = (scores[image].argmax(dim=0) == labels[image])[labels[image] != IGNORED]
        assert found.pixel_accuracy["ham"][image] == pytest.approx(float(right.double().mean()), rel=1e-6)
    whole = intersection_over_union(torch.from_numpy(found.confusions["ham"]))
    assert float(whole.mean()) == pytest.approx(mean_iou(scores, labels), abs=1e-12)


@pytest.fixture
def record(ham: Record) -> Record:
    """Return a record as one of label maps would be."""
    found = copy.deepcopy(ham)
    found["metric"] = "mIoU"
    for row in found["rows"]:
        for target, own in row["targets"].items():
            changed: Metrics = {
                name.replace("accuracy", "mIoU"): value
                for name, value in own.items()
                if name in ("accuracy", "accuracy_in80", "accuracy_in20", "images")
            }
            row["targets"][target] = changed | {
                "per_class_IoU": [*([0.25] * (len(found["classes"]) - 1)), None],
                "pixel_accuracy": 0.5,
            }
    return checked(found, "made up")


def figures(record: Record) -> Predictions:
    keys, classes = [row["key"] for row in record["rows"]], len(record["classes"])
    draw = np.random.default_rng(0)
    one = MapPredictions(
        {key: draw.integers(0, 10_000, (classes, classes)) for key in keys},
        {key: draw.random(5, dtype=np.float32) for key in keys},
        {key: draw.random(5, dtype=np.float32) for key in keys},
    )
    return Predictions({}, None, dict.fromkeys(record["targets"], one))


def test_tables_call_the_metric_by_its_name(record: Record) -> None:
    text = format_text(record)
    assert text.splitlines()[2].startswith("mIoU, %")
    assert "±: jackknife standard error over" in text
    assert "correct" not in text


def test_the_page_shows_classes_and_confused_pixels(record: Record) -> None:
    (shown,) = by_class(record)
    assert [cell.text for cell in next(iter(shown.every.rows.values()))][:1] == ["25"]
    assert result(record).lead.startswith("mIoU on all")
    page = report_html(record, Evidence(predictions=figures(record)))
    assert "A row holds the pixels of one true class" in page
    assert "jackknife standard error" in page
    assert "pixel accuracy" in page
    assert "are taken for another class" not in page
    # Without what the evaluation left beside the record, it is shorter, not broken.
    assert "pixels of one true class" not in report_html(record, Evidence())
