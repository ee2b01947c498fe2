from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.config.recipe import ModelConfig
from hamdg.models import ImageTower, LoadedClip, layer_of, load_clip

CONF = Path(__file__).parents[1] / "conf"


def tiny(kind: Literal["rn", "vit"]) -> LoadedClip:
    return load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))


@pytest.fixture(params=["rn", "vit"])
def loaded(request: pytest.FixtureRequest) -> LoadedClip:
    return tiny(request.param)


def pictures() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_clip_with_length_one(loaded: LoadedClip) -> None:
    features = ImageTower(loaded)(pictures())

    torch.testing.assert_close(features, normalize(loaded.model.encode_image(pictures()), dim=-1))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))


def test_names_are_those_of_the_image_encoder(loaded: LoadedClip) -> None:
    tower = ImageTower(loaded)

    assert list(tower.trainable()) == [name for name, _ in loaded.model.visual.named_parameters()]
    assert all(loaded.model.visual.get_parameter(name) is found for name, found in tower.trainable().items())


def test_frozen_parameters_are_not_trainable(loaded: LoadedClip) -> None:
    tower = copy.deepcopy(ImageTower(loaded))
    first, *others = tower.trainable()
    tower.trainable()[first].requires_grad_(False)

    assert list(tower.trainable()) == others


def test_a_copy_is_trained_without_touching_the_clip(loaded: LoadedClip) -> None:
    tower = copy.deepcopy(ImageTower(loaded))
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.1)
    start = tower(pictures()).detach()
    (tower.train()(pictures()) @ torch.randn(16, generator=torch.Generator().manual_seed(1))).sum().backward()
    optimizer.step()

    assert all(torch.equal(before[key], value) for key, value in loaded.model.state_dict().items())
    assert not torch.allclose(tower(pictures()), start)
    tower.visual.load_state_dict(loaded.model.visual.state_dict())
    torch.testing.assert_close(tower(pictures()), start)


def test_moving_the_tower_moves_all_of_it(loaded: LoadedClip) -> None:
    tower = copy.deepcopy(ImageTower(loaded)).double()

    assert {value.dtype for value in tower.state_dict().values()} <= {torch.float64, torch.int64}
    assert tower(pictures().double()).dtype == torch.float64


def test_functional_call_uses_the_given_tensors(loaded: LoadedClip) -> None:
    tower = ImageTower(loaded)
    other = {name: parameter + 0.1 for name, parameter in tower.named_parameters()}
    expected = copy.deepcopy(tower)
    expected.load_state_dict(other, strict=False)

    torch.testing.assert_close(torch.func.functional_call(tower, other, pictures()), expected(pictures()))


def test_batchnorm_statistics_are_frozen_and_its_scale_is_trained() -> None:
    tower = copy.deepcopy(ImageTower(tiny("rn")))
    statistics = {key: value.clone() for key, value in tower.named_buffers()}
    assert tower.train().training
    tower(pictures()).square().sum().backward()

    assert tower.visual.get_submodule("layer1.0.conv1").training
    assert not any(module.training for module in tower.modules() if isinstance(module, _BatchNorm))
    assert all(torch.equal(statistics[key], value) for key, value in tower.named_buffers())
    assert tower.trainable()["layer1.0.bn1.weight"].grad is not None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("layer1.0.conv1.weight", "layer1.0"),
        ("layer4.0.downsample.0.weight", "layer4.0"),
        ("transformer.resblocks.3.attn.in_proj_weight", "transformer.resblocks.3"),
        ("conv1.weight", "conv1"),
        ("attnpool.q_proj.weight", "attnpool"),
        ("class_embedding", "class_embedding"),
        ("trunk.blocks.11.mlp.fc1.weight", "trunk.blocks.11"),
    ],
)
def test_layer_of(name: str, layer: str) -> None:
    assert layer_of(name) == layer
