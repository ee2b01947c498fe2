from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.algorithms.scmd.functional import cross_modal_scores, distillation, hardest, kept, selects
from hamdg.cohort.history import history_steps
from hamdg.config.recipe import HistoryConfig
from hamdg.merge.history import RunningMean, folded


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


@pytest.mark.parametrize(("share", "count"), [(0.2, 19), (0.25, 24), (0.3, 28), (1.0, 96)])
def test_the_published_shares_keep_as_many_of_96(share: float, count: int) -> None:
    assert kept(96, share) == count
    assert len(hardest(scores(96), share)) == count


def test_counts_are_those_of_exact_arithmetic_and_never_none() -> None:
    assert [kept(100, share) for share in (0.29, 0.57, 0.58)] == [29, 57, 58]
    assert [kept(n, 0.2) for n in (1, 4, 5, 9, 10)] == [1, 1, 1, 1, 2]


def test_the_hardest_samples_are_those_with_the_largest_losses() -> None:
    losses = torch.tensor([0.5, 3.0, 0.1, 2.0, 2.5])
    assert hardest(losses, 0.4).tolist() == [1, 4]
    assert hardest(losses, 0.6).tolist() == [1, 3, 4]
    # Every sample, in the order of the batch: no selection.
    assert hardest(losses, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert hardest(torch.tensor([1.0, 2.0, 2.0, 2.0]), 0.5).tolist() == [1, 2]
    random = scores(50, seed=3)
    assert set(hardest(random, 0.3).tolist()) == set(sorted(range(50), key=lambda i: -float(random[i]))[:15])


def test_the_published_run_selects_up_to_step_3750() -> None:
    chosen = [step for step in range(5001) if selects(step, 5000, 0.25)]
    assert chosen == list(range(3751))
    # With the constant of the code, a longer run selects no longer than that.
    assert not any(selects(step, 5000, 0.25) for step in range(3751, 15001))
    assert selects(11250, 15000, 0.25)
    # 10 * (1 - 0.3) and 100 * (1 - 0.9) in exact arithmetic.
    assert [step for step in range(10) if selects(step, 10, 0.3)] == list(range(8))
    assert [step for step in range(100) if selects(step, 100, 0.9)] == list(range(11))


@pytest.mark.parametrize("temperature", [1.0, 3.0, 7.5])
def test_the_distance_equals_its_definition(temperature: float) -> None:
    student, teacher = scores(4, 5), 3 * scores(4, 5, seed=1)
    expected = slow_distillation(student, teacher, temperature)
    assert float(distillation(student, teacher, temperature)) == pytest.approx(expected, rel=1e-12)


def test_a_student_that_agrees_is_at_no_distance() -> None:
    teacher = scores(6, 7)
    assert float(distillation(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-15)
    # Softmax knows differences alone.
    assert float(distillation(teacher + 5, teacher, 3.0)) == pytest.approx(0, abs=1e-14)
    assert float(distillation(teacher.flip(1), teacher, 3.0)) > 0.01


def test_hot_distances_are_those_of_centered_scores() -> None:
    student, teacher = scores(1, 3), scores(1, 3, seed=1)
    difference = student - teacher
    limit = float((difference - difference.mean()).square().sum()) / (2 * 3)
    assert float(distillation(student, teacher, 1000.0)) == pytest.approx(limit, rel=1e-2)
    assert float(distillation(student, teacher, 1e5)) == pytest.approx(limit, rel=1e-4)


def test_the_gradient_is_the_difference_of_probabilities() -> None:
    student, teacher, temperature = scores(5, 4).requires_grad_(), scores(5, 4, seed=1).requires_grad_(), 3.0
    distillation(student, teacher, temperature).backward()  # type: ignore[no-untyped-call]
    q, p = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, temperature * (q - p).detach() / 5)
    assert teacher.grad is None


def test_cross_modal_scores_of_the_teachers_own_features_are_the_teachers_scores() -> None:
    images, text = normalize(scores(6, 8), dim=1), normalize(scores(3, 8, seed=1), dim=1)
    teacher = 14.3 * images @ text.T
    # A projector that gives the teacher's features, however long, and its scale.
    own = cross_modal_scores(7 * images, text, torch.tensor(math.log(14.3), dtype=torch.float64))
    torch.testing.assert_close(own, teacher)
    assert float(distillation(own, teacher, 3.0)) == pytest.approx(0, abs=1e-12)
    assert float(cross_modal_scores(images, text, torch.tensor(0.0)).abs().max()) <= 1


def official_average(states: list[float], start: int) -> float:
    """The running average of the published code, with its counters."""
    average, count = 0.0, 0
    for iteration, state in enumerate(states, start=1):
        if iteration >= start:
            count += 1
            average = (average * count + state) / (1 + count)
        else:
            average = state
    return average


def test_the_history_of_the_real_recipes_is_the_published_average() -> None:
    states = scores(5001).tolist()
    steps = history_steps(HistoryConfig(kind="mean", start=0.0598, every=1), 5001)
    # From the state before iteration 300 on: the first update of the published average keeps the one before it.
    assert steps == list(range(299, 5002))
    mean = folded(RunningMean(), [torch.tensor([states[step - 1]], dtype=torch.float64) for step in steps])
    assert float(mean) == pytest.approx(official_average(states, 300), rel=1e-9)
