from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.tasks.distillation import distillation_loss


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_distillation(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """The definition, entry by entry."""
    total = 0.0
    for own, wanted in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(one / temperature) for one in wanted]
        q = [math.exp(one / temperature) for one in own]
        p, q = [one / sum(p) for one in p], [one / sum(q) for one in q]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 7.5])
def test_the_distance_equals_its_definition(temperature: float) -> None:
    student, teacher = scores(4, 5), 3 * scores(4, 5, seed=1)
    expected = slow_distillation(student, teacher, temperature)
    assert float(distillation_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-12)


def test_scores_of_other_classes_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"the student's have the shape \(4, 1\) and the teacher's \(4, 5\); give both"
    ):
        # It would be repeated for all classes.
        distillation_loss(scores(4, 1), scores(4, 5), 3.0)


def test_a_student_that_agrees_is_at_no_distance() -> None:
    teacher = scores(6, 7)
    assert float(distillation_loss(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-15)
    # Softmax knows differences alone.
    assert float(distillation_loss(teacher + 5, teacher, 3.0)) == pytest.approx(0, abs=1e-14)
    assert float(distillation_loss(teacher.flip(1), teacher, 3.0)) > 0.01


def test_hot_distances_are_those_of_centered_scores() -> None:
    student, teacher = scores(1, 3), scores(1, 3, seed=1)
    difference = student - teacher
    limit = float((difference - difference.mean()).square().sum()) / (2 * 3)
    assert float(distillation_loss(student, teacher, 1000.0)) == pytest.approx(limit, rel=1e-2)
    assert float(distillation_loss(student, teacher, 1e5)) == pytest.approx(limit, rel=1e-4)


def test_the_gradient_is_the_difference_of_probabilities() -> None:
    student, teacher, temperature = scores(5, 4).requires_grad_(), scores(5, 4, seed=1).requires_grad_(), 3.0
    distillation_loss(student, teacher, temperature).backward()  # type: ignore[no-untyped-call]
    q, p = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, temperature * (q - p).detach() / 5)
    assert teacher.grad is None
