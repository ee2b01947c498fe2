from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.algorithms.dmm.inversion import (
    Moments,
    batch_moments,
    check_statistics,
    moments_of,
    rolled,
    statistics_loss,
    stored_moments,
    total_variation,
)
from hamdg.algorithms.dmm.loop import Loop
from hamdg.algorithms.dmm.synthesis import Synthesis, noise, objective, synthesize, target_classes
from hamdg.config.algorithms.dmm import StatisticsLoss, SynthesizeConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import WeightsError
from hamdg.models.mini_resnet import MiniResNet
from hamdg.models.network import Network, frozen

FORMS: tuple[StatisticsLoss, ...] = ("relative", "norms")
SIDE = 12


class Tiny(Network):
    """A small ResNet without anything around it."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.inner = MiniResNet((4, 6, 8), classes)

    def features(self, images: Tensor) -> Tensor:
        return images

    def scores(self, features: Tensor) -> Tensor:
        found: Tensor = self.inner(features)
        return found


class Counting(Loop):
    """A loop that only counts, or stops."""

    def __init__(self, stop: int | None = None, state: Any = None) -> None:
        self.stop, self.state, self.losses = stop, state, list[float]()

    def resumed(self) -> Any:
        return self.state

    def done(self, step: int, loss: float, text: str, state: Any) -> None:
        self.losses.append(loss)
        if step == self.stop:
            torch.save(state(), "state.ckpt")
            raise KeyboardInterrupt


def measured_on(images: Tensor, seed: int = 0) -> Tiny:
    """Return a network whose statistics are exactly those of some images: cumulative, with biased variances."""
    torch.manual_seed(seed)
    network = Tiny()
    layers = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    network.live_statistics = True
    network.train()
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad(), batch_moments(network) as found:
        network(images)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(found[name].mean)
            layer.running_var.copy_(found[name].variance)
    return frozen(network)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_zero_where_and_only_where_the_statistics_are_those_of_the_batch(
    images: Tensor, form: StatisticsLoss
) -> None:
    network = measured_on(images)
    with batch_moments(network) as found:
        network(images)
    stored = stored_moments(network)
    assert float(statistics_loss(found, stored, form)) == pytest.approx(0.0, abs=1e-4)
    with batch_moments(network) as other:
        network(images + 0.5)
    assert float(statistics_loss(other, stored, form)) > 0.01
    # A variance alone that is another.
    name = next(iter(stored))
    moved = stored | {name: stored[name]._replace(variance=2 * stored[name].variance)}
    assert float(statistics_loss(found, moved, form)) > 0.01


def test_the_losses_by_hand() -> None:
    found = {"a": Moments(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 4.0]))}
    stored = {"a": Moments(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 4.0]))}
    # Of the first channel 1 / 1 + (1 / 1)^2, of the second nothing.
    assert float(statistics_loss(found, stored, "relative")) == pytest.approx(1.0)
    assert float(statistics_loss(found, stored, "norms")) == pytest.approx(2.0)
    both = found | {"b": stored["a"]}, stored | {"b": stored["a"]}
    assert float(statistics_loss(*both, "relative")) == pytest.approx(1.0)
    assert float(statistics_loss(*both, "norms")) == pytest.approx(2.0)


def test_moments_are_biased_and_of_any_shape() -> None:
    inputs = torch.randn(5, 2, 3, 4, dtype=torch.float64)
    mean, variance = moments_of(inputs)
    for channel in range(2):
        values = inputs[:, channel].flatten().tolist()
        middle = sum(values) / len(values)
        assert float(mean[channel]) == pytest.approx(middle)
        assert float(variance[channel]) == pytest.approx(sum((v - middle) ** 2 for v in values) / len(values))
    assert moments_of(torch.ones(4, 3)).mean.tolist() == [1, 1, 1]


def test_a_channel_without_variance_counts_within_limits() -> None:
    stored = {"a": Moments(torch.zeros(2), torch.tensor([0.0, 1.0]))}
    found = {"a": Moments(torch.zeros(2), torch.tensor([0.005, 1.0]))}
    # In units of a hundredth of the mean variance, which is 0.5: (0.005 / 0.005)^2 / 2.
    assert float(statistics_loss(found, stored, "relative")) == pytest.approx(0.5)
    dead = {"a": Moments(torch.zeros(2), torch.zeros(2))}
    assert float(statistics_loss(dead, dead, "relative")) == 0.0


def test_total_variation_by_hand_and_rolling() -> None:
    image = torch.tensor([[0.0, 1.0], [3.0, 3.0]]).view(1, 1, 2, 2)
    assert float(total_variation(image)) == pytest.approx((3 + 2) / 2 + (1 + 0) / 2)
    generator = torch.Generator().manual_seed(0)
    many = [rolled(torch.arange(9.0).view(1, 1, 3, 3), 1, generator) for _ in range(30)]
    assert {float(one.sum()) for one in many} == {36.0}
    assert len({tuple(one.flatten().tolist()) for one in many}) > 4
    assert torch.equal(rolled(image, 0, generator), image)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bn.running_var": torch.tensor([1.0, float("nan")])}, "`bn.running_var` of the model `photo` is not finite"),
        ({"bn.running_mean": torch.tensor([float("inf")])}, "`bn.running_mean` of the model `photo` is not finite"),
        ({"bn.running_var": torch.tensor([-1.0])}, "`bn.running_var` of the model `photo` is negative"),
    ],
)
def test_statistics_that_cannot_be_used_are_named(change: dict[str, Tensor], said: str) -> None:
    fine = {
        "bn.running_mean": torch.zeros(1),
        "bn.running_var": torch.zeros(1),
        "fc.bias": torch.tensor([float("nan")]),
    }
    check_statistics("photo", fine)
    with pytest.raises(WeightsError, match=f"^The statistic {said}, so that nothing can be synthesized"):
        check_statistics("photo", fine | change)


def test_targets_are_spread_over_classes_or_as_the_client_has_them() -> None:
    assert target_classes(7, 3, [0, 0, 9], "uniform").tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert target_classes(5, 3, [0, 20, 30], "counts").tolist() == [1, 1, 2, 2, 2]
    assert target_classes(5, 3, [0, 1, 300], "present").tolist() == [1, 1, 1, 2, 2]
    assert target_classes(2, 3, [1, 1, 1], "uniform").tolist() == [0, 1]


CONFIG = SynthesizeConfig(images=6, steps=60, lr=0.05, jitter=1, statistics_weight=0.5)
PREPROCESS = Preprocess(SIDE)


def made(network: Tiny, config: SynthesizeConfig = CONFIG, loop: Loop | None = None, seed: int = 0) -> Synthesis:
    targets = {name: target_classes(config.images, 3, [1, 1, 1], "uniform") for name in ("a", "b")}
    models = {name: (lambda: network) for name in ("a", "b")}
    counted = Counting() if loop is None else loop
    return synthesize(models, targets, PREPROCESS, config, seed, counted, torch.device("cpu"))


def colored() -> tuple[Tensor, Tensor]:
    """Return noisy images that are red, green or blue, and which."""
    labels = torch.arange(3).repeat(8)
    colors = torch.eye(3)[labels].view(-1, 3, 1, 1)
    return colors + 0.5 * torch.randn(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)), labels


def learned() -> Tiny:
    """Return a network that tells these colors apart, with the statistics of their images."""
    seen, labels = colored()
    torch.manual_seed(0)
    network = Tiny()
    network.live_statistics = True
    optimizer = torch.optim.Adam(network.train().parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(network(seen), labels))
        optimizer.step()
    assert bool((network.eval()(seen).argmax(dim=1) == labels).all())
    network.zero_grad()
    return frozen(network)


def test_synthesized_images_come_near_to_the_statistics_and_are_recognized() -> None:
    network, loop = learned(), Counting()
    found = made(network, loop=loop)
    assert found.recognized == {"a": 1.0, "b": 1.0}
    for name in ("a", "b"):
        first, last = found.curves[name][0][1], found.curves[name][-1][1]
        assert last < 0.5 * first
    # Monotonic on average: each third lies below the one before.
    thirds = [sum(loop.losses[20 * i : 20 * i + 20]) for i in range(3)]
    assert thirds == sorted(thirds, reverse=True)
    lowest, highest = (PREPROCESS.fit(torch.full((1, 3, SIDE, SIDE), end)) for end in (0.0, 1.0))
    assert bool((found.images["a"] >= lowest).all())
    assert bool((found.images["a"] <= highest).all())
    assert not torch.equal(found.images["a"], found.images["b"])
    # Classes differ in color as the images did that the network has seen.
    brightest = found.images["a"].mean(dim=(2, 3)).argmax(dim=1)
    assert float((brightest == torch.tensor([0, 0, 1, 1, 2, 2])).double().mean()) > 0.6
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("stop", [1, 4, 5, 9])
def test_a_killed_synthesis_goes_on_to_the_same_images(
    images: Tensor, stop: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network, config = measured_on(images), replace(CONFIG, steps=5)
    whole = made(network, config)
    with pytest.raises(KeyboardInterrupt):
        made(network, config, Counting(stop))
    rest = Counting(state=torch.load("state.ckpt", weights_only=True))
    again = made(network, config, rest)
    assert len(rest.losses) == 10 - stop
    assert all(torch.equal(again.images[name], own) for name, own in whole.images.items())
    assert {name: [tuple(one) for one in own] for name, own in again.curves.items()} == whole.curves


def test_the_start_is_the_seeds_and_the_models() -> None:
    assert torch.equal(noise("a", 2, 4, 0), noise("a", 2, 4, 0))
    assert not torch.equal(noise("a", 2, 4, 0), noise("b", 2, 4, 0))
    assert not torch.equal(noise("a", 2, 4, 0), noise("a", 2, 4, 1))


def test_every_term_has_its_weight(images: Tensor) -> None:
    network, targets = measured_on(images), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    stored, moved = stored_moments(network), images + 1
    none = SynthesizeConfig(statistics_weight=0, variation_weight=0, target_weight=0)
    assert float(objective(network, stored, moved, targets, none).value) == 0.0
    own = objective(network, stored, moved, targets, replace(none, statistics_weight=2.0))
    assert float(own.value) == pytest.approx(2 * own.statistics)
    own = objective(network, stored, moved, targets, replace(none, target_weight=3.0))
    assert float(own.value) == pytest.approx(3 * own.cross_entropy)
    own = objective(network, stored, moved, targets, replace(none, variation_weight=4.0))
    assert float(own.value) == pytest.approx(4 * float(total_variation(moved)))
