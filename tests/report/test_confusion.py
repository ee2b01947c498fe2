from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from hamdg.report.confusion import confusion
from hamdg.runs.predictions import TargetPredictions

CLASSES = ["cat", "dog", "owl"]


def target(labels: list[int], **predicted: list[int]) -> TargetPredictions:
    answers = {key: np.array(own) for key, own in predicted.items()}
    sure = {key: np.ones(len(labels), np.float32) for key in predicted}
    return TargetPredictions(np.array(labels), answers, sure)


def test_counts_are_torchmetrics_own() -> None:
    draw = np.random.default_rng(0)
    labels, predicted = draw.integers(0, 5, 300), draw.integers(0, 5, 300)
    found = TargetPredictions(labels, {"ham": predicted}, {"ham": np.ones(300, np.float32)})
    wanted = multiclass_confusion_matrix(torch.from_numpy(predicted), torch.from_numpy(labels), 5)
    np.testing.assert_array_equal(found.confusion("ham", 5), wanted.numpy())


def test_a_matrix_has_shares_of_the_true_class() -> None:
    labels = [0] * 200 + [1] * 4
    found = confusion("a", target(labels, ham=[0] * 150 + [1] * 49 + [2] + [1] * 4), {"ham": "HAM"}, CLASSES)
    rows = found.maps["HAM"].rows
    assert [cell.text for cell in rows["cat"]] == ["75", "24", "<1", "200"]
    assert [cell.text for cell in rows["dog"]] == ["0", "100", "0", "4"]
    assert [cell.text for cell in rows["owl"]] == ["0", "0", "0", "0"]  # a class without an image
    assert [cell.kind for cell in rows["cat"]] == ["right", "minus", "minus", "void total"]


def test_large_counts_have_separators() -> None:
    found = confusion("a", target([0] * 1200, ham=[0] * 1200), {"ham": "HAM"}, CLASSES)
    assert found.maps["HAM"].rows["cat"][-1].text == "1,200"


def test_pairs_stand_by_their_mistakes_with_what_other_models_do() -> None:
    found = confusion(
        "a",
        target([0, 0, 0, 0, 1, 1, 2], ham=[1, 1, 1, 0, 0, 1, 2], erm=[0, 0, 0, 1, 1, 1, 1]),
        {"ham": "HAM", "erm": "ERM"},
        CLASSES,
    )
    assert found.pairs is not None
    assert found.pairs["columns"] == ["true → predicted", "mistakes", "HAM", "ERM"]
    assert found.pairs["rows"] == [["cat → dog", "3", "75", "25"], ["dog → cat", "1", "50", "0"]]
    assert "These pairs are 100 % of all mistakes" in found.pairs["note"]


def test_many_classes_have_pairs_and_no_matrix() -> None:
    classes = [f"c{index}" for index in range(345)]
    labels = list(range(345))
    found = confusion("a", target(labels, ham=[(one + 1) % 345 for one in labels]), {"ham": "HAM"}, classes)
    assert found.maps == {}
    assert found.pairs is not None
    assert len(found.pairs["rows"]) == 20
    assert found.pairs["rows"][0] == ["c0 → c1", "1", "100"]


def test_a_model_without_mistakes_has_no_pairs() -> None:
    assert confusion("a", target([0, 1], ham=[0, 1]), {"ham": "HAM"}, CLASSES).pairs is None
