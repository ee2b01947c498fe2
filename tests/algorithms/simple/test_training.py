from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from hamdg.algorithms.simple.pool import MatchedPool, Pool
from hamdg.algorithms.simple.training import mean_weights, train_pool
from hamdg.config.algorithms.simple import SimpleSettings
from hamdg.data.preprocess import Preprocess

SIDE = 2


class Loaded(NamedTuple):
    """A model that gives the first pixels of an image."""

    width: int
    name: str = "loaded"
    preprocess: Preprocess = Preprocess(SIDE)

    @property
    def encoder(self) -> nn.Module:
        layer = nn.Linear(3 * SIDE * SIDE, self.width, bias=False)
        nn.init.eye_(layer.weight)
        return nn.Sequential(nn.Flatten(), layer)

    def state(self) -> Mapping[str, Tensor]:
        return {}


OWN = SimpleSettings(pool=["a", "b"], steps=3, batch_size=4, lr=0.01)


def network(settings: SimpleSettings = OWN, widths: tuple[int, int] = (3, 3)) -> MatchedPool:
    pool = Pool({name: Loaded(width) for name, width in zip(settings.pool, widths, strict=True)}, Preprocess(SIDE))
    return MatchedPool(pool, 2, settings, seed=0)


def outputs(noise: float = 1.0, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what two models give of two domains: the first knows the class, the second does not."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in ("ink", "paint"):
        y = torch.arange(12) % 2
        known = torch.stack([2.0 * y - 1, 1 - 2.0 * y, torch.ones(12)], dim=1)
        found[name] = (torch.cat([known, noise * torch.randn(12, 3, generator=generator)], dim=1), y)
    return found


def test_its_features_are_the_outputs_of_all_models_and_only_adapters_and_matching_are_trained() -> None:
    own, images = network(widths=(3, 5)), torch.randn(2, 3, SIDE, SIDE)
    pixels = images.flatten(1)
    assert torch.equal(own.features(images), torch.cat([pixels[:, :3], pixels[:, :5]], dim=1))
    assert {name.partition(".")[0] for name in own.weights()} == {"adapters", "matcher"}
    assert not own.train().pool.training


def test_adapters_are_shared_by_size_or_each_models_own() -> None:
    assert list(network().adapters) == ["size_3"]
    assert list(network(widths=(3, 5)).adapters) == ["size_3", "size_5"]
    assert list(network(replace(OWN, adapters="model")).adapters) == ["model_0", "model_1"]


def test_the_matching_network_is_the_published_formula() -> None:
    own = network(replace(OWN, match="b"), widths=(3, 5))
    features = torch.randn(4, 8)
    state = {name: tensor.double() for name, tensor in own.matcher.state_dict().items()}
    raw, scores = own.matching(features)
    for row, found, adapted in zip(features.double(), raw, scores, strict=True):
        image = (state["of_image.weight"] @ row[3:] + state["of_image.bias"]).clamp(min=0)
        meets = []
        for embedding in state["embedding"]:
            model = (state["of_model.weight"] @ embedding + state["of_model.bias"]).clamp(min=0)
            meets.append(float(image @ model))
        mixed = state["mix.weight"] @ torch.tensor(meets, dtype=torch.float64) + state["mix.bias"]
        torch.testing.assert_close(found.double(), (1 + mixed.exp()).log(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(adapted[1], own.adapters["size_5"](row[3:].float()))
    assert [state[name].shape for name in ("embedding", "of_image.weight", "mix.weight")] == [
        (2, 1000),
        (100, 5),
        (2, 2),
    ]


def test_the_result_is_the_mean_of_the_states_from_the_one_before_a_step_on() -> None:
    lasts = []
    for steps in (1, 2, 3, 4):
        own = network()
        lasts.append(train_pool(own, outputs(), replace(OWN, steps=steps), seed=0).last)
    start = network().weights()
    # The first step has a learning rate of 0.
    assert all(torch.equal(lasts[0][name], start[name]) for name in start)
    found = train_pool(network(), outputs(), replace(OWN, steps=4, average_from=3), seed=0)
    for name, average in found.average.items():
        torch.testing.assert_close(average, (lasts[1][name] + lasts[2][name] + lasts[3][name]) / 3)
        assert torch.equal(found.last[name], lasts[3][name])
    assert any(not torch.equal(lasts[2][name], lasts[3][name]) for name in start)


def test_of_a_run_that_ends_before_its_average_begins_the_last_state_is_left() -> None:
    found = train_pool(network(), outputs(), OWN, seed=0)
    assert all(torch.equal(found.average[name], found.last[name]) for name in found.last)


def test_it_learns_the_classes_and_prefers_the_model_that_knows_them() -> None:
    settings = replace(OWN, adapters="model", steps=300, average_from=200)
    own = network(settings)
    found = train_pool(own, outputs(), settings, seed=0)
    own.load(found.average)
    for features, labels in outputs(seed=1).values():
        assert own.scores(features).argmax(dim=1).tolist() == labels.tolist()
    assert float(found.losses[-1].mixture) < 0.5 * float(found.losses[0].mixture)
    for first, second in mean_weights(own, outputs()).values():
        assert first + second == pytest.approx(1.0)
        assert first > 0.6


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    first, same, other = (train_pool(network(), outputs(), OWN, seed=seed).last for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
