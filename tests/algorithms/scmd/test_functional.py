from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.algorithms.scmd.functional import cross_modal_scores, hardest, kept, selects
from hamdg.cohort.history import history_steps
from hamdg.config.recipe import HistoryConfig
from hamdg.merge.history import RunningMean, folded
from hamdg.tasks.distillation import distillation_loss


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_cross_modal_scores_of_the_teachers_own_features_are_the_teachers_scores() -> None:
    images, text = normalize(scores(6, 8), dim=1), normalize(scores(3, 8, seed=1), dim=1)
    teacher = 14.3 * images @ text.T
    # A projector that gives the teacher's features, however long, and its scale.
    own = cross_modal_scores(7 * images, text, torch.tensor(math.log(14.3), dtype=torch.float64))
    torch.testing.assert_close(own, teacher)
    assert float(distillation_loss(own, teacher, 3.0)) == pytest.approx(0, abs=1e-12)
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
