"""What enrichment would accept, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hamdg.conflicts.acceptance import acceptance


def scores(*probabilities: float) -> Tensor:
    """Return scores of two classes, of which the first has these probabilities."""
    first = torch.tensor(probabilities)
    return torch.stack([first, 1 - first], dim=1).log()


SCORES = {"a": scores(0.2, 0.6), "b": scores(0.5, 0.3, 0.1, 0.9)}
LABELS = {"a": torch.tensor([0, 0]), "b": torch.tensor([0, 0, 1, 1])}


def test_the_rule_by_hand() -> None:
    # Confidences: a 0.2 and 0.6 (mean 0.4), b 0.5, 0.3, 0.9 and 0.1 (mean 0.45).
    found = acceptance(SCORES, LABELS, "true_class", batch_size=4, seed=0)
    assert found.shares == {"a": {"b": 0.5}, "b": {"a": 0.5}}
    assert found.by_class == {"a": [0.5, None], "b": [0.5, 0.5]}
    assert found.likely["b"].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_the_other_kind_of_confidence() -> None:
    # The largest probabilities: a 0.8 and 0.6 (mean 0.7), b 0.5, 0.65, 0.9 and 0.9 (mean 0.7375).
    found = acceptance(SCORES | {"b": scores(0.5, 0.35, 0.1, 0.9)}, LABELS, "max_probability", batch_size=4, seed=0)
    assert found.shares == {"a": {"b": 0.5}, "b": {"a": 0.5}}


def test_thresholds_are_those_of_mini_batches() -> None:
    # Batches of one image: a's thresholds are 0.2 and 0.6, above which are 3 and 1 of b's four confidences.
    found = acceptance(SCORES, LABELS, "true_class", batch_size=1, seed=0)
    assert found.shares["a"]["b"] == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_acceptance_is_averaged_over_the_models_that_ask() -> None:
    three = SCORES | {"c": scores(0.95)}
    found = acceptance(three, LABELS | {"c": torch.tensor([0])}, "true_class", batch_size=4, seed=0)
    assert found.shares["c"] == {"a": 0.0, "b": 0.0}
    assert found.likely["b"].tolist() == [0.5, 0.0, 0.5, 0.0]
