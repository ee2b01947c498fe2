from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.ham.enrichment import combined_loss, confidence, drawn, select
from hamdg.config.algorithms.ham import Combine, Confidence
from hamdg.tasks.classification import CLASSIFICATION


def logits_with(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities).log()


def random_logits(count: int, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=draws) * 3, torch.randint(0, classes, (count,), generator=draws)


def test_nothing_is_added_when_all_confidences_are_equal() -> None:
    mask, threshold = select(torch.full((4,), 0.25), torch.full((6,), 0.25))

    assert mask.tolist() == [False] * 6
    assert float(threshold) == 0.25


def test_everything_above_the_threshold_is_added() -> None:
    mask, _ = select(torch.tensor([0.5, 0.5]), torch.tensor([0.5001, 0.6, 1.0]))

    assert mask.tolist() == [True] * 3


@pytest.mark.parametrize(("kind", "expected"), [("true_class", [1, 4]), ("max_probability", [0, 1, 3, 4])])
def test_hand_made_logits_give_the_exact_samples(kind: Confidence, expected: list[int]) -> None:
    own = confidence(logits_with([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]]), torch.tensor([0, 1]), kind)  # mean 0.6
    others = logits_with([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7], [0.61, 0.3, 0.09]])
    mask, threshold = select(own, confidence(others, torch.tensor([1, 1, 1, 0, 0]), kind))

    assert float(threshold) == pytest.approx(0.6)
    assert mask.nonzero()[:, 0].tolist() == expected


def test_the_threshold_is_the_mean_over_the_own_batch_alone() -> None:
    own = torch.tensor([0.1, 0.4, 0.7])
    thresholds = [float(select(own, others)[1]) for others in (torch.zeros(3), torch.ones(50), torch.zeros(0))]

    assert thresholds == [pytest.approx(0.4)] * 3


@pytest.mark.parametrize("kind", ["true_class", "max_probability"])
def test_confidences_equal_a_softmax_by_hand(kind: Confidence) -> None:
    logits, labels = random_logits(20)
    found = confidence(logits.to(torch.bfloat16), labels, kind)

    assert found.dtype == torch.float32
    for row, label, value in zip(logits.to(torch.bfloat16).tolist(), labels.tolist(), found.tolist(), strict=True):
        exponentials = [math.exp(score) for score in row]
        wanted = exponentials[label] if kind == "true_class" else max(exponentials)
        assert value == pytest.approx(wanted / sum(exponentials), rel=1e-5)


@pytest.mark.parametrize("kind", ["true_class", "max_probability"])
def test_no_gradient_reaches_threshold_or_selection(kind: Confidence) -> None:
    logits, labels = random_logits(6)
    found = confidence(logits.requires_grad_(), labels, kind)

    assert not found.requires_grad
    assert not select(found, found)[1].requires_grad


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_the_gradient_is_that_of_a_fixed_selection(combine: Combine) -> None:
    """Finite differences of the whole rule: where no sample changes sides, only the cross-entropies move."""
    own, own_labels = random_logits(5, seed=1)
    others, other_labels = random_logits(40, seed=2)
    own, others = own.double().requires_grad_(), others.double().requires_grad_()

    def loss(own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        mask, _ = select(confidence(own, own_labels, "true_class"), confidence(others, other_labels, "true_class"))
        added = torch.nn.functional.cross_entropy(others[mask], other_labels[mask], reduction="none")
        return combined_loss(torch.nn.functional.cross_entropy(own, own_labels, reduction="none"), added, combine), mask

    value, mask = loss(own, others)
    value.backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None
    assert others.grad is not None
    assert 0 < int(mask.sum()) < 40
    assert not others.grad[~mask].any()
    for tensor, gradient in ((own, own.grad), (others, others.grad)):
        for index in [(0, 0), (1, 3), (4, 2)]:
            step = torch.zeros_like(tensor)
            step[index] = 1e-4
            moved = (own + step, others) if tensor is own else (own, others + step)
            back = (own - step, others) if tensor is own else (own, others - step)
            assert torch.equal(loss(*moved)[1], mask)
            slope = float((loss(*moved)[0] - loss(*back)[0]).detach()) / 2e-4
            assert slope == pytest.approx(float(gradient[index]), abs=1e-6)


def test_wrong_labels_pass_by_maximum_probability_and_not_by_true_class() -> None:
    draws = torch.Generator().manual_seed(3)
    clean = torch.randint(0, 7, (700,), generator=draws)
    wrong = torch.rand(700, generator=draws) < 0.3
    labels = torch.where(wrong, (clean + 1) % 7, clean)
    logits = torch.randn(700, 7, generator=draws) + 4 * torch.nn.functional.one_hot(clean, 7)
    own_labels = torch.arange(70) % 7
    own = torch.randn(70, 7, generator=draws) + 3 * torch.nn.functional.one_hot(own_labels, 7)

    def noise_among_added(kind: Confidence) -> float:
        mask, _ = select(confidence(own, own_labels, kind), confidence(logits, labels, kind))
        assert mask.sum() > 100
        return float(wrong[mask].float().mean())

    assert noise_among_added("true_class") < 0.02
    assert noise_among_added("max_probability") == pytest.approx(0.3, abs=0.05)


def test_combined_losses_by_hand() -> None:
    own, added, none = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 7.0]), torch.empty(0)

    assert float(combined_loss(own, added, "mean")) == 4.0
    assert float(combined_loss(own, added, "sum")) == 8.0
    assert float(combined_loss(own, none, "mean")) == float(combined_loss(own, none, "sum")) == 2.0


def test_cross_entropies_by_hand() -> None:
    found = CLASSIFICATION.losses(logits_with([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([0, 1]))

    assert found.tolist() == pytest.approx([math.log(4), math.log(2)])


def test_as_many_samples_of_each_domain_are_drawn_as_were_accepted() -> None:
    mask = torch.tensor([True, False, True, False, False, False, False, True, True, True])
    seen = torch.zeros(10)
    for seed in range(200):
        torch.manual_seed(seed)
        found = drawn(mask, [5, 2, 3])
        assert [int(part.sum()) for part in torch.split(found, [5, 2, 3])] == [2, 0, 3]
        seen += found
    # 2 of 5 each: 80 of 200 expected, with a standard deviation of 7.
    assert seen[:5].tolist() == pytest.approx([80] * 5, abs=28)
    torch.manual_seed(3)
    once = drawn(mask, [5, 2, 3])
    torch.manual_seed(3)
    assert torch.equal(drawn(mask, [5, 2, 3]), once)
