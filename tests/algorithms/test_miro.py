from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.algorithms.miro import MiroLearner, _layers, regularization
from hamdg.config.algorithms.miro import MiroSettings
from hamdg.config.recipe import TrainConfig
from hamdg.errors import ConfigError
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.network import Network
from hamdg.tracking.keys import MetricKey
from tests.algorithms.pooled import CLIP, OWN, TEXT, batches, whole

TRAIN = TrainConfig(steps=4, lr=1e-3)
BLOCKS = ("conv1", "transformer.resblocks.0", "transformer.resblocks.1")


class Encoder(nn.Module):
    """The published variance of channels, written anew from its description."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        start = torch.tensor(0.1 - 1e-5)
        size = (1, shape[1], 1, 1) if len(shape) == 4 else (1, 1, shape[2])
        self.b = nn.Parameter(torch.full(size, float((start.exp() - 1.0).log())))

    def forward(self) -> Tensor:
        return torch.log1p(self.b.exp()) + 1e-5


def network() -> ClipClassifier:
    return ClipClassifier(CLIP, TEXT, 14.0)


def output_of(one: Network, layer: str, images: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    handle = one.body.get_submodule(layer).register_forward_hook(lambda _, __, output: outputs.append(output))
    one(images)
    handle.remove()
    return outputs[0]


def moved() -> ClipClassifier:
    own = network()
    with torch.no_grad():
        for number, parameter in enumerate(own.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return own


def learner(own: ClipClassifier | None = None, **changes: float) -> MiroLearner:
    return MiroLearner(own or moved(), network(), OWN, TRAIN, BLOCKS, MiroSettings(**changes))  # type: ignore[arg-type]


def test_a_number_by_hand() -> None:
    # Two channels, of which one is 2 away: variance ln 2 + 1e-5 at b = 0, both.
    raw, variance = torch.zeros(2), math.log(2) + 1e-5
    features = torch.tensor([[3.0, 1.0]])
    found = regularization(features, torch.ones(1, 2), raw)
    assert float(found) == pytest.approx((4 / variance + 2 * math.log(variance)) / 2 / 2)


def test_maps_have_their_channels_in_front_and_tokens_at_the_end() -> None:
    raw = torch.tensor([-1.0, 0.5, 2.0])
    tokens, before = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    map_, map_before = (one.transpose(1, 2).reshape(2, 3, 2, 2) for one in (tokens, before))
    torch.testing.assert_close(regularization(map_, map_before, raw), regularization(tokens, before, raw))


def test_the_loss_equals_the_formula_on_the_outputs_of_the_layers() -> None:
    own, given = learner(weight=0.7), batches()
    images, labels = whole(given)
    found = own.loss(given, 0)
    penalty = torch.zeros(())
    for number, name in enumerate(BLOCKS):
        outputs = [output_of(one, name, images) for one in (own.network, own.before)]
        encoder = Encoder(outputs[0].shape)
        torch.testing.assert_close(encoder.b.flatten(), own.raw_variances[number])
        assert float(encoder().detach().flatten()[0]) == pytest.approx(0.1, rel=1e-5)
        terms = (outputs[0] - outputs[1]).pow(2).div(encoder()) + encoder().log()
        penalty = penalty + terms.mean() / 2
    expected = cross_entropy(own.network(images), labels) + 0.7 * penalty
    torch.testing.assert_close(found.value, expected)
    assert float(found.logs[MetricKey("penalty")]) == pytest.approx(float(penalty.detach()), rel=1e-5)


def test_at_the_start_the_penalty_is_that_of_the_variances_alone() -> None:
    found = learner(network()).loss(batches(), 0)
    assert float(found.logs[MetricKey("penalty")]) == pytest.approx(3 * math.log(0.1) / 2, rel=1e-4)


def test_the_variance_settles_at_the_mean_squared_difference_of_its_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    features, before = (torch.randn(64, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    raw = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # In fp32 inside, whose gradients are good enough here.
        loss = regularization(features, before, raw)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    variance = torch.nn.functional.softplus(raw.detach()) + 1e-5
    torch.testing.assert_close(variance, (features - before).square().mean(0), rtol=1e-3, atol=0)


def test_the_variances_learn_ten_times_as_fast_and_the_pretrained_network_not_at_all() -> None:
    own = learner()
    own.loss(batches(), 0).value.backward()  # type: ignore[no-untyped-call]
    ours, variances = own.parameter_groups()
    assert [id(one) for one in ours["params"]] == [id(one) for one in own.network.parameters()]
    assert [id(one) for one in variances["params"]] == [id(one) for one in own.raw_variances]
    assert variances["lr"] == pytest.approx(1e-2)
    assert all(parameter.grad is not None for parameter in variances["params"])
    assert all(parameter.grad is None for parameter in own.before.parameters())
    assert {name.partition(".")[0] for name in own.state_dict()} == {"network", "raw_variances"}


def test_layers_that_there_are_not_are_named() -> None:
    assert _layers(network(), None, "tiny") == list(BLOCKS)
    assert _layers(network(), ["ln_post"], "tiny") == ["ln_post"]
    with pytest.raises(ConfigError) as caught:
        _layers(network(), ["conv2"], "tiny")
    assert str(caught.value) == "`miro.layers` names `conv2`, which is no layer of `tiny`; did you mean `conv1`?"
    with pytest.raises(ConfigError, match=r"^`miro\.layers` names `transformer\.resblocks`, but that gives"):
        MiroLearner(network(), network(), OWN, TRAIN, ["transformer.resblocks"], MiroSettings())
    unknown = network()
    unknown.visual = nn.Linear(2, 2)
    with pytest.raises(ConfigError) as caught:
        _layers(unknown, None, "odd")
    assert str(caught.value) == (
        "MIRO knows the stages of ResNets and vision transformers, but not of `odd`; name the layers that it compares "
        "in `miro.layers`."
    )
