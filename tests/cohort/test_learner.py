from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from hamdg.cohort.learner import ParamGroup, make_optimizer
from hamdg.config.algorithms.ham import EnrichmentConfig, HarmonizationConfig
from hamdg.config.recipe import TrainConfig
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from tests.cohort.conftest import World

pytestmark = [
    # BatchNorm is in evaluation mode on purpose: its statistics are frozen.
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    # Lightning's own use of torch's pytree.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
]


def test_the_optimizer_has_one_group_per_model() -> None:
    groups = [[torch.nn.Parameter(torch.ones(2))], [torch.nn.Parameter(torch.ones(3))]]
    first, second = TrainConfig(steps=10, lr=0.5, weight_decay=0.25, warmup=2), TrainConfig(lr=1.0, warmup=10)
    optimizer, scheduler = make_optimizer(
        [([{"params": groups[0]}], first), ([{"params": groups[1], "weight_decay": 0.5}], second)]
    )

    assert [group["params"] for group in optimizer.param_groups] == groups
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.5]
    assert scheduler.get_last_lr() == [0.25, 0.1]


def test_a_constant_learning_rate_stays_after_its_warm_up() -> None:
    config = TrainConfig(steps=4, lr=0.5, warmup=2, schedule="constant")
    optimizer, scheduler = make_optimizer([([{"params": [torch.nn.Parameter(torch.ones(2))]}], config)])
    rates = []
    for _ in range(4):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == [0.25, 0.5, 0.5, 0.5]


def test_sgd_moves_as_by_hand() -> None:
    """With v_t = m v_{t-1} + g_t + wd w_t and w_{t+1} = w_t - lr v_t, on the loss w^2 / 2, whose gradient is w."""
    config = TrainConfig(
        steps=9, lr=0.5, weight_decay=0.5, warmup=0, schedule="constant", optimizer="sgd", momentum=0.5
    )
    w = torch.nn.Parameter(torch.tensor(8.0))
    optimizer, _ = make_optimizer([([{"params": [w]}], config)])
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(w.square() / 2)
        optimizer.step()
        found.append(float(w.detach()))
    # v: 12, 6 + 3, 4.5 - 3.75
    assert found == [8 - 6, 2 - 4.5, -2.5 - 0.375]


def test_learners_have_their_own_momentum_and_groups_their_own_rate() -> None:
    groups = [[torch.nn.Parameter(torch.ones(2))], [torch.nn.Parameter(torch.ones(3))]]
    first = TrainConfig(lr=0.5, warmup=0, optimizer="sgd", momentum=0.0)
    optimizer, _ = make_optimizer(
        [([{"params": groups[0], "lr": 0.25}], first), ([{"params": groups[1]}], replace(first, momentum=0.75))]
    )
    assert isinstance(optimizer, torch.optim.SGD)
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.25, 0.0), (0.5, 0.75)]


def test_two_kinds_of_optimizers_are_refused() -> None:
    own: list[tuple[list[ParamGroup], TrainConfig]] = [
        ([{"params": [torch.nn.Parameter(torch.ones(2))]}], TrainConfig(optimizer=kind)) for kind in ("sgd", "adamw")
    ]
    with pytest.raises(ConfigError, match=r"one optimizer, but `train.optimizer` is `adamw`, `sgd`; give all of them"):
        make_optimizer(own)


def plain_fine_tuning(world: World, limit: float) -> dict[str, Tensor]:
    """A plain PyTorch loop on the only source domain: no cohort, no Lightning, no function of the cohort's room."""
    config = world.train
    tower = copy.deepcopy(world.clip.model.visual).train()
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    parameters = dict(tower.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def factor(step: int) -> float:
        if step < config.warmup:
            return (step + 1) / config.warmup
        return (1 + math.cos(math.pi * (step - config.warmup) / (config.steps - config.warmup))) / 2

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loader = world.loader()
    for step in range(config.steps):
        batch = loader.batches(step)[world.sources[0]]
        loss = torch.nn.functional.cross_entropy(
            14.0 * torch.nn.functional.normalize(tower(batch.images), dim=-1) @ world.text_head().T, batch.labels
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters.values(), limit)
        optimizer.step()
        scheduler.step()
    return {name: parameter.detach() for name, parameter in parameters.items()}


@pytest.mark.parametrize("clip_norm", [0.5, 0.0])
def test_a_cohort_of_one_is_plain_fine_tuning_bit_for_bit(each_world: World, clip_norm: float) -> None:
    train = TrainConfig(steps=6, lr=1e-3, warmup=2, clip_norm=clip_norm)
    world = each_world.but(sources=("photo",), train=train)
    found = world.fit(world.cohort())["photo"]
    expected = plain_fine_tuning(world, clip_norm or math.inf)

    start = world.network().weights()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(not torch.equal(found[name], start[name]) for name in expected)


def test_a_learner_trained_alone_gets_the_same_weights(each_world: World) -> None:
    world = each_world.but(sources=("photo",), train=TrainConfig(steps=6, lr=1e-3, warmup=2, clip_norm=0.5))
    learner = world.learner(("photo",))
    world.trainer().fit(learner, train_dataloaders=world.loader())

    expected = world.fit(world.cohort())["photo"]
    assert all(torch.equal(p, expected[name]) for name, p in learner.result.weights().items())


def test_independent_models_do_not_see_one_another(world: World) -> None:
    apart = world.but(enrichment=EnrichmentConfig(enabled=False), harmonization=HarmonizationConfig(method="none"))
    together = apart.fit(apart.cohort())

    for source in world.sources:
        alone = apart.but(sources=(source,))
        found = alone.fit(alone.cohort())[source]
        assert all(torch.equal(found[name], together[source][name]) for name in found)


def test_a_pooled_model_learns_from_all_its_domains(world: World) -> None:
    batches = world.loader().batches(0)
    pooled = world.learner(("cartoon", "photo")).own_batch(batches)

    assert torch.equal(pooled.images, torch.cat([batches["cartoon"].images, batches["photo"].images]))
    assert torch.equal(pooled.labels, torch.cat([batches["cartoon"].labels, batches["photo"].labels]))


def test_scores_are_computed_in_fp32_under_autocast(world: World) -> None:
    network, images = world.network(), world.loader().batches(0)["photo"].images
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores, features = network(images), network.features(images)

    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, 14.0 * features.float() @ world.text_head().T)
    assert not torch.equal(scores, scores.to(torch.bfloat16).float())


def test_scores_are_scaled_cosines_with_the_text_head(world: World) -> None:
    network, images = world.network(), world.loader().batches(0)["photo"].images
    with torch.no_grad():
        scores, features = network(images), world.clip.model.encode_image(images)

    for n in range(4):
        for c in range(3):
            cosine = torch.nn.functional.cosine_similarity(features[n], world.text_head()[c], dim=0)
            assert float(scores[n, c]) == pytest.approx(14.0 * float(cosine), abs=1e-4)
    assert "class_features" not in network.state_dict()
