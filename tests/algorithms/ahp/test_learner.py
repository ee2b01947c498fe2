"""AHP's learner: the loss, and whom the gradient of the discrepancy reaches."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from hamdg.algorithms.ahp.algorithm import adapt, ranks_of
from hamdg.algorithms.ahp.learner import AhpLearner, only_to
from hamdg.cohort.learner import check_whole
from hamdg.config.algorithms.ahp import AhpSettings, MmdConfig
from hamdg.config.recipe import ModelConfig, TrainConfig
from hamdg.data.batches import Batch, Labels
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import self_attentions
from hamdg.models.adapters.gates import head_gates
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.network import Network
from hamdg.tasks.classification import Classification
from hamdg.tracking.keys import MetricKey
from tests.tiny import CONF

CLIP = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random"))
OWN, CLASSES, SIDE = ("cartoon", "photo", "sketch"), 3, 32
TEXT = normalize(torch.randn(CLASSES, CLIP.width, generator=torch.Generator().manual_seed(0)), dim=1)
TRAIN = TrainConfig(steps=8, lr=1e-3)
SETTINGS = AhpSettings(mmd=MmdConfig(weight=2.0, gammas=[0.5, 3.0]))
TO = Literal["gates", "lora", "all"]


class NoLoss(Classification):
    """No loss of the scores."""

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return 0 * scores.sum()


def learner(settings: AhpSettings = SETTINGS, own: tuple[str, ...] = OWN, start: float = 0.3) -> AhpLearner:
    """Return a learner whose adapters are moved away from their start by normal draws."""
    network = ClipClassifier(CLIP, TEXT, scale=10.0)
    network.visual.requires_grad_(False)
    found = self_attentions(network.visual, "tiny-vit")
    adapt(found, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.trainable().values():
            parameter.add_(start * torch.randn(parameter.shape, generator=generator))
    return AhpLearner(network, own, TRAIN, settings, [one.block for one in found])


def batches(count: int = 5) -> dict[str, Batch]:
    generator = torch.Generator().manual_seed(2)
    found = {}
    for number, name in enumerate(OWN):
        labels = torch.randint(CLASSES, (count,), generator=generator)
        images = number + torch.randn(count, 3, SIDE, SIDE, generator=generator)
        found[name] = Batch(images, torch.arange(count), Labels(labels, labels))
    return found


def slow_mmd(first: Tensor, second: Tensor, gammas: list[float]) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        values = [sum(math.exp(-g * float((x - y).square().sum())) for g in gammas) for x in a for y in b]
        return sum(values) / len(values)

    return kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)


@pytest.mark.parametrize(
    ("of", "reduction", "count"),
    [("layers", "mean", 2), ("layers", "sum", 1), ("features", "mean", 1), ("both", "mean", 3), ("both", "sum", 1)],
)
def test_the_loss_is_the_cross_entropy_and_the_mean_discrepancy_of_all_pairs_and_layers(
    of: Literal["layers", "features", "both"], reduction: Literal["mean", "sum"], count: int
) -> None:
    settings = replace(SETTINGS, mmd=replace(SETTINGS.mmd, of=of, reduction=reduction))
    one, given = learner(settings), batches()
    found = one.loss(given, 0)
    visual = one.network.body
    losses, compared = [], []
    with torch.no_grad():
        for name in OWN:
            outputs = visual.forward_intermediates(given[name].images, output_extra_tokens=True)  # type: ignore[operator]
            layers = [tokens[:, 0] for tokens in outputs["image_intermediates_prefix"]]
            features = outputs["image_features"]
            losses.append(cross_entropy(10 * normalize(features, dim=1) @ TEXT.T, given[name].labels))
            compared.append({"layers": layers, "features": [features], "both": [*layers, features]}[of])
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = [
        slow_mmd(normalize(one, dim=1), normalize(other, dim=1), [0.5, 3.0])
        for first, second in pairs
        for one, other in zip(compared[first], compared[second], strict=True)
    ]
    penalty = sum(wanted) / 3 / count
    assert penalty > 0.01
    assert float(found.logs[MetricKey("penalty")]) == pytest.approx(penalty, rel=1e-4)
    assert float(found.value.detach()) == pytest.approx(float(torch.stack(losses).mean()) + 2 * penalty, rel=1e-5)


def gradients(settings: AhpSettings, task: Classification | None = None) -> dict[str, Tensor]:
    one = learner(settings)
    one.task = task or one.task
    one.loss(batches(), 0).value.backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in one.network.trainable().items() if parameter.grad is not None}


def routed(to: TO, weight: float = 2.0) -> AhpSettings:
    return replace(SETTINGS, mmd=replace(SETTINGS.mmd, to=to, weight=weight))


def gate(name: str) -> bool:
    return name.endswith("logits")


@pytest.mark.parametrize("to", ["gates", "lora"])
def test_without_a_loss_of_the_scores_only_those_are_taught_whom_the_discrepancy_teaches(to: TO) -> None:
    found = gradients(routed(to), NoLoss())
    assert {gate(name) for name in found} == {True, False}
    for name, gradient in found.items():
        assert bool(gradient.any()) == (gate(name) == (to == "gates")), name


@pytest.mark.parametrize("to", ["gates", "lora", "all"])
def test_all_get_the_gradient_of_the_cross_entropy_and_some_that_of_the_discrepancy(to: TO) -> None:
    found, without, plain = gradients(routed(to)), gradients(routed("all", 0.0)), gradients(routed("all"))
    assert found.keys() == without.keys() == plain.keys()
    for name, gradient in found.items():
        taught = to == "all" or gate(name) == (to == "gates")
        torch.testing.assert_close(gradient, (plain if taught else without)[name], rtol=1e-4, atol=1e-6)
        assert not torch.allclose(plain[name], without[name], rtol=1e-3, atol=1e-6)


def test_the_value_is_that_of_the_whole_loss_whomever_it_teaches() -> None:
    values = [float(learner(routed(to)).loss(batches(), 0).value.detach()) for to in ("gates", "lora", "all")]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_a_value_whose_gradient_reaches_one_of_two() -> None:
    first, second = torch.tensor(3.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    value = only_to([first], first.square() * second)
    assert float(value.detach()) == 45
    value.backward()  # type: ignore[no-untyped-call]
    assert (float(first.grad or 0), second.grad) == (30, None)


def test_half_precision_in_the_network_leaves_the_discrepancy_in_fp32() -> None:
    one, exact = learner(), learner()
    with torch.autocast("cpu", torch.bfloat16):
        found = one.loss(batches(), 0)
        found.value.backward()  # type: ignore[no-untyped-call]
    wanted = exact.loss(batches(), 0)
    wanted.value.backward()  # type: ignore[no-untyped-call]
    key = MetricKey("penalty")
    assert found.logs[key].dtype == torch.float32
    assert float(found.logs[key]) == pytest.approx(float(wanted.logs[key]), rel=0.05)
    for gates in (True, False):
        own, other = (
            torch.cat([p.grad.flatten() for name, p in each.network.trainable().items() if gate(name) == gates])  # type: ignore[union-attr]
            for each in (one, exact)
        )
        assert float((own - other).norm()) < 0.1 * float(other.norm())


def test_one_domain_and_a_weight_of_zero_leave_the_cross_entropy() -> None:
    for one in (learner(own=OWN[:1]), learner(routed("gates", 0.0))):
        found = one.loss(batches(), 0)
        assert not found.logs
        names = one.own
        losses = [cross_entropy(one.network(batches()[name].images), batches()[name].labels) for name in names]
        torch.testing.assert_close(found.value, torch.stack(losses).mean())


def test_gates_have_no_weight_decay_and_may_have_a_learning_rate_of_their_own() -> None:
    one = learner(replace(SETTINGS, gate_lr=0.5))
    others, gates = one.parameter_groups()
    assert (gates["weight_decay"], gates["lr"]) == (0.0, 0.5)
    assert "lr" not in others
    assert [id(p) for p in gates["params"]] == [id(found.logits) for found in head_gates(one.network)]
    trained = {id(p) for group in (others, gates) for p in group["params"]}
    assert trained == {id(p) for p in one.network.trainable().values()}
    assert len(trained) == len(others["params"]) + len(gates["params"])
    alone = learner(replace(SETTINGS, lora="none")).parameter_groups()
    assert [group.get("weight_decay") for group in alone] == [0.0]


@pytest.mark.parametrize(("accumulate", "processes"), [(2, 1), (1, 2)])
def test_batches_must_stay_whole(accumulate: int, processes: int) -> None:
    with pytest.raises(ConfigError, match=r"^The loss of `AhpLearner` \(learner `pooled`\) needs the whole batch"):
        check_whole({"pooled": learner()}, accumulate, processes)


@pytest.mark.parametrize(
    ("ranks", "layers", "wanted"),
    [([2, 8, 8], 12, [2] * 10 + [8] * 2), ([2, 8, 8], 2, [8, 8]), ([4], 3, [4, 4, 4]), ([1, 2, 3], 3, [1, 2, 3])],
)
def test_ranks_are_those_of_the_last_layers(ranks: list[int], layers: int, wanted: list[int]) -> None:
    assert ranks_of(AhpSettings(ranks=ranks), layers) == wanted


class Toy(Network):
    """One token of six numbers; each of three heads passes two of them on, to a fixed linear classifier."""

    preprocess = Preprocess(8)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"attn": nn.MultiheadAttention(6, 3, batch_first=True)})])
        attention = self.blocks[0]["attn"]  # type: ignore[index]
        with torch.no_grad():
            attention.in_proj_weight[12:].copy_(torch.eye(6))
            attention.out_proj.weight.copy_(torch.eye(6))
        self.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        tokens = images.unsqueeze(1)
        attended: Tensor = self.blocks[0]["attn"](tokens, tokens, tokens, need_weights=False)[0]  # type: ignore[index]
        return attended[:, 0]

    def scores(self, features: Tensor) -> Tensor:
        return features[:, 2:4] + features[:, 4:]


def toy_batches() -> Mapping[str, Batch]:
    """Return three domains: the first two numbers say which one it is, the others the class."""
    generator, found = torch.Generator().manual_seed(0), {}
    for angle, name in enumerate(OWN):
        labels = torch.arange(16) % 2
        domain = torch.tensor([math.cos(2 * math.pi * angle / 3), math.sin(2 * math.pi * angle / 3)]).expand(16, 2)
        one_hot = nn.functional.one_hot(labels, 2).float()
        images = torch.cat([domain, one_hot, one_hot], dim=1) + 0.1 * torch.randn(16, 6, generator=generator)
        found[name] = Batch(images, torch.arange(16), Labels(labels, labels))
    return found


def test_the_gate_of_the_head_that_tells_domains_apart_becomes_the_smallest() -> None:
    def factors(weight: float) -> Tensor:
        settings = AhpSettings(lora="none", mmd=MmdConfig(weight=weight, of="features"))
        network = Toy()
        adapt(self_attentions(network, "toy"), settings, seed=0)
        one, given = AhpLearner(network, OWN, TRAIN, settings, []), toy_batches()
        optimizer = torch.optim.SGD(one.parameters(), lr=0.5)
        for step in range(40):
            optimizer.zero_grad()
            one.loss(given, step).value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        (gates,) = head_gates(network)
        return gates.factors().detach()

    with_discrepancy, without = factors(1.0), factors(0.0)
    assert int(with_discrepancy.argmin()) == 0
    assert float(with_discrepancy[0]) < 0.7 * float(without[0])


def test_a_message_names_what_cannot_be_sent_to_other_processes() -> None:
    class Part(AhpLearner):
        whole_batch = False

    one = learner()
    part = Part(one.network, OWN, TRAIN, SETTINGS, one.blocks)
    message = (
        "`Part` (learner `pooled`) has parametrized weights, which cannot be sent to other processes; use one device."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_whole({"pooled": part}, accumulate=1, processes=2)
    check_whole({"pooled": part}, accumulate=2, processes=1)
