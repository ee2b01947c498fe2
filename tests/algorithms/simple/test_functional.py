from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.simple.functional import losses, lr_factor, matched, mixture


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: list[float]) -> list[float]:
    whole = sum(map(math.exp, values))
    return [math.exp(value) / whole for value in values]


def test_the_parts_of_the_loss_by_hand() -> None:
    # One image of class 0, of which one model says 3/4 and the other nothing.
    weights, scores = torch.tensor([[0.75, 0.25]]), torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]]])
    found = losses(weights, scores, torch.tensor([0]))
    assert float(found.mixture) == pytest.approx(math.log(1 + 3**-0.75))
    first, second = sigmoid(0.5), sigmoid(-0.5)
    assert float(found.members) == pytest.approx((first * math.log(4 / 3) + second * math.log(2)) / 2)
    # The probabilities 3/4 and 1/2 through a softmax, twice.
    target = sigmoid(2 * sigmoid(0.25) - 1)
    wanted = math.log(1 + math.exp(first)) - target * first + math.log(1 + math.exp(second)) - (1 - target) * second
    assert float(found.confidence) == pytest.approx(wanted / 2)


def slow(weights: list[list[float]], scores: list[list[list[float]]], labels: list[int]) -> list[float]:
    """The published loss, image by image and model by model."""
    mixed, alone, sure = [], [], []
    for row, models, label in zip(weights, scores, labels, strict=True):
        classes = range(len(models[0]))
        whole = [sum(weight * own[c] for weight, own in zip(row, models, strict=True)) for c in classes]
        mixed.append(-math.log(softmax(whole)[label]))
        true = [softmax(own)[label] for own in models]
        soft, target = softmax(row), softmax(softmax(true))
        for share, probability, wanted in zip(soft, true, target, strict=True):
            alone.append(-share * math.log(probability))
            sure.append(-wanted * math.log(sigmoid(share)) - (1 - wanted) * math.log(1 - sigmoid(share)))
    return [sum(part) / len(part) for part in (mixed, alone, sure)]


def test_the_loss_of_a_batch_equals_a_slow_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    raw, scores = torch.rand(5, 3, generator=generator), torch.randn(5, 3, 4, generator=generator)
    labels = torch.tensor([0, 3, 1, 1, 2])
    weights = matched(raw)
    found = losses(weights, scores, labels)
    assert [float(part) for part in found] == pytest.approx(slow(weights.tolist(), scores.tolist(), labels.tolist()))


def test_probabilities_of_the_true_class_are_targets_and_learn_nothing() -> None:
    weights, scores = torch.tensor([[0.5, 0.5]]), torch.randn(1, 2, 3, requires_grad=True)
    assert not losses(weights, scores, torch.tensor([1])).confidence.requires_grad


@pytest.mark.parametrize(
    ("top", "wanted"),
    [(None, [[0.1, 0.3, 0.6]]), (1, [[0.0, 0.0, 1.0]]), (2, [[0.0, 1 / 3, 2 / 3]]), (6, [[0.1, 0.3, 0.6]])],
)
def test_weights_add_up_to_1_and_only_the_largest_are_used(top: int | None, wanted: list[list[float]]) -> None:
    torch.testing.assert_close(matched(torch.tensor([[1.0, 3.0, 6.0]]), top), torch.tensor(wanted))


def test_each_image_has_a_mixture_of_its_own() -> None:
    scores = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[1.0, 2.0], [3.0, 6.0]]])
    found: Tensor = mixture(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), scores)
    assert found.tolist() == [[1.0, 2.0], [2.5, 5.0]]


def test_the_learning_rate_rises_over_one_pass_and_then_goes_down_in_stairs() -> None:
    found = [lr_factor(step, 4, 0.95) for step in (0, 1, 4, 103, 104, 204)]
    assert found == pytest.approx([0.0, 0.25, 1.0, 1.0, 0.95, 0.95**2])
