from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from hamdg.report.calibration import BINS, calibration, calibration_error, confidence_bins
from hamdg.report.table import MISSING
from hamdg.runs.predictions import TargetPredictions


def test_the_error_is_torchmetrics_own() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(500, 4, generator=draw).mul(2).softmax(dim=1)
    labels = torch.randint(4, (500,), generator=draw)
    confidence, predicted = scores.max(dim=1)
    bins = confidence_bins(confidence.numpy(), (predicted == labels).numpy())
    wanted = multiclass_calibration_error(scores, labels, 4, n_bins=BINS)
    assert calibration_error(bins) == pytest.approx(float(wanted), abs=1e-6)
    assert sum(one.images for one in bins) == 500


def test_the_error_of_four_predictions_by_hand() -> None:
    # Two at 0.6 of which one is right (gap 0.1), two at 0.95 of which both are (gap 0.05): 0.5 * 0.1 + 0.5 * 0.05.
    confidence = np.array([0.6, 0.6, 0.95, 0.95], np.float32)
    bins = confidence_bins(confidence, np.array([True, False, True, True]))
    assert calibration_error(bins) == pytest.approx(0.075)
    filled = [one for one in bins if one.images]
    assert [(one.images, one.accuracy) for one in filled] == [(2, 0.5), (2, 1.0)]
    assert [one.confidence for one in filled] == pytest.approx([0.6, 0.95])


def test_the_ends_are_in_the_first_and_the_last_range_and_what_is_no_number_in_none() -> None:
    confidence = np.array([0.0, 1.0, np.nan], np.float32)
    counts = [one.images for one in confidence_bins(confidence, np.ones(3, np.bool_))]
    assert counts == [1, *[0] * (BINS - 2), 1]
    assert calibration_error(confidence_bins(confidence[2:], np.ones(1, np.bool_))) == 0.0


def test_a_diagram_shows_gaps_on_their_side() -> None:
    labels = np.zeros(40, np.int64)
    predicted = np.repeat([0, 1], 20)  # half are right
    target = TargetPredictions(
        labels,
        {"ham": predicted, "erm": predicted},
        {"ham": np.full(40, 0.9, np.float32), "erm": np.full(40, 0.3, np.float32)},
    )
    found = calibration("photo", target, {"ham": "HAM", "erm": "ERM"})
    assert found is not None
    over, under = found.diagrams
    assert (over.label, over.is_own, under.is_own) == ("HAM", True, False)
    assert (over.error, over.lean) == pytest.approx((0.4, 0.4))
    assert (under.error, under.lean) == pytest.approx((0.2, -0.2))
    assert [bar.kind for bar in (*over.bars, *under.bars)] == ["over", "under"]
    (bar,) = over.bars
    assert bar.top < bar.level == pytest.approx(bar.top + bar.height)  # the gap hangs from the confidence
    assert bar.text == "confidence 86.7 to 93.3 %: 40 images, 50.0 % right"
    assert found.numbers["columns"] == ["confidence, %", "HAM: images", "HAM: right, %", "ERM: images", "ERM: right, %"]
    assert found.numbers["rows"] == [
        ["26.7 to 33.3", "0", MISSING, "40", "50.0"],
        ["86.7 to 93.3", "40", "50.0", "0", MISSING],
    ]


def one_model(confidence: float, images: int) -> TargetPredictions:
    zeros = np.zeros(images, np.int64)
    return TargetPredictions(zeros, {"a": zeros}, {"a": np.full(images, confidence, np.float32)})


def test_few_images_are_pale() -> None:
    found = calibration("x", one_model(0.5, 9), {"a": "A"})
    assert found is not None
    assert [bar.kind for bar in found.diagrams[0].bars] == ["under few"]


def test_confidences_that_are_no_numbers_have_no_diagram() -> None:
    assert calibration("x", one_model(np.nan, 9), {"a": "A"}) is None
