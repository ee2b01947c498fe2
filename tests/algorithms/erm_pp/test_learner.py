from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from hamdg.algorithms.erm_pp.learner import ErmPpLearner
from hamdg.cohort.learner import make_optimizer
from hamdg.config.algorithms.erm_pp import ErmPpSettings
from hamdg.config.recipe import ModelConfig, TrainConfig
from hamdg.models.classifier import load_classifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.network import statistics
from tests.algorithms.pooled import CLASSES, OWN, SIDE, batches, whole

TRAIN = TrainConfig(steps=12, lr=0.5, warmup=0, schedule="constant")
SETTINGS = ErmPpSettings(classifier_steps=2, average_start=4)
START = load_classifier(ModelConfig(name="mini-resnet8-16", image_size=SIDE))


def network(live: bool = False) -> ImageClassifier:
    own = ImageClassifier(START, fresh_head(CLASSES, START.width, seed=0))
    own.live_statistics = live
    return own.train()


def learner(live: bool = False, schedule: tuple[int, ...] = (), **changes: int) -> ErmPpLearner:
    return ErmPpLearner(network(live), OWN, TRAIN, replace(SETTINGS, **changes), schedule)


def values(module: nn.Module) -> list[torch.Tensor]:
    tensors = [*module.parameters(), *module.buffers()]
    return [tensor.detach().clone() for tensor in tensors if tensor.is_floating_point()]


def test_at_first_the_classifier_alone_learns_and_then_everything() -> None:
    one, given = learner(), batches()
    head = {"fc.weight", "fc.bias"}
    for step, moving in ((0, head), (1, head), (2, set(one.network.trainable()))):
        one.zero_grad()
        one.loss(given, step).value.backward()  # type: ignore[no-untyped-call]
        with_gradient = {name for name, parameter in one.network.trainable().items() if parameter.grad is not None}
        assert with_gradient == moving
    before = {name: parameter.detach().clone() for name, parameter in one.network.trainable().items()}
    one.zero_grad()
    one.loss(given, 1).value.backward()  # type: ignore[no-untyped-call]
    optimizer, _ = make_optimizer([(one.parameter_groups(), TRAIN)])
    optimizer.step()
    moved = {name for name, parameter in one.network.trainable().items() if not torch.equal(parameter, before[name])}
    # Weight decay, too, leaves the rest alone.
    assert moved == head


def test_the_average_is_that_of_the_states_from_the_step_before_its_start_on() -> None:
    """The published recursion: from iteration 4 (of 1, 2, ...) on, m <- (n m + w) / (n + 1), n = 1, 2, ..."""
    one, given, states, mean, count = learner(), batches(), [], values(network()), 0
    for step in range(7):
        with torch.no_grad():
            for number, tensor in enumerate([*one.network.parameters(), *one.network.buffers()]):
                if tensor.is_floating_point():
                    tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(100 * step + number)))
        one.after_update(given, step)
        states.append(values(one.network))
        count += step + 1 >= 4
        mean = [(count * m + w) / (count + 1) if count else w for m, w in zip(mean, states[-1], strict=True)]
        for found, wanted in zip(values(one.average), mean, strict=True):
            torch.testing.assert_close(found, wanted)
    assert count == 4
    for found, *own in zip(values(one.average), *states[2:], strict=True):
        torch.testing.assert_close(found, torch.stack(own).mean(0))
    assert one.result is one.average


@pytest.mark.parametrize("live", [False, True])
def test_statistics_that_move_see_the_batch_through_the_average(live: bool) -> None:
    one, given = learner(live), batches()
    reference = copy.deepcopy(one.average)
    if live:
        with torch.no_grad():
            reference(whole(given)[0])
    one.after_update(given, 0)
    for (name, found), (_, wanted) in zip(statistics(one.average), statistics(reference), strict=True):
        torch.testing.assert_close(found, wanted, msg=name)
    pairs = zip(statistics(one.average), statistics(network()), strict=True)
    assert any(not torch.equal(found, before) for (_, found), (_, before) in pairs) == live


def test_the_rate_falls_a_step_after_it_is_found_and_the_third_fall_ends_the_training() -> None:
    one = learner(classifier_steps=4)
    assert not one.validated(4, 0.1)  # a loss while the classifier alone learns says nothing
    ends = [one.validated(step, loss) for step, loss in ((5, 1.0), (6, 1.0), (7, 1.0), (8, 0.5), (9, 0.6), (10, 0.7))]
    assert (ends, one.schedule) == ([False] * 6, [7, 10])
    rates = [one.rate(step) for step in range(12)]
    assert rates == pytest.approx([1.0] * 8 + [0.1] * 3 + [0.01])
    assert [one.validated(step, 0.7) for step in (11, 12)] == [False, True]
    assert one.schedule == [7, 10, 12]
    again = learner(schedule=(7, 10, 12))
    assert [again.rate(step) for step in range(12)] == rates


def test_the_optimizer_has_the_trained_network_alone_and_its_rate() -> None:
    one = learner(schedule=(1,))
    optimizer, scheduler = make_optimizer([(one.parameter_groups(), TRAIN)])
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in one.network.parameters()]
    assert "schedule" not in group
    rates = []
    for _ in range(4):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05])


def test_a_killed_training_goes_on_with_its_average_and_its_losses() -> None:
    one = learner()
    with torch.no_grad():
        next(one.average.parameters()).add_(1)
    one.validated(3, 1.0), one.validated(4, 1.0), one.validated(5, 1.0)
    again = learner()
    again.load_state_dict(one.state_dict())
    assert (again.losses, again.schedule) == ({3: 1.0, 4: 1.0, 5: 1.0}, [5])
    assert all(torch.equal(a, b) for a, b in zip(values(one), values(again), strict=True))
    assert [again.validated(step, 1.0) for step in (6, 7)] == [False, False]
    assert again.schedule == [5, 7]
