"""BatchNorm folded into convolutions: the same function, the same names, files that the libraries load."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.models.classifier import load_classifier
from hamdg.models.folding import fold_batchnorm
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.network import has_batchnorm


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def randomized(module: nn.Module) -> nn.Module:
    """Give BatchNorm layers statistics, scales and shifts that do something."""
    draws = torch.Generator().manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.running_var):
                assert tensor is not None
                tensor.copy_(0.5 + torch.rand(len(tensor), generator=draws))
            for tensor in (layer.bias.data, layer.running_mean):
                assert tensor is not None
                tensor.copy_(torch.randn(len(tensor), generator=draws) / 2)
    return module.eval()


def test_a_folded_convolution_is_the_one_worked_out_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1.0)
    conv.weight.data.fill_(3)
    # (3 x - 4) / sqrt(8 + 1) * 6 + 5 = 6 x - 3
    norm.running_mean, norm.running_var = torch.tensor([4.0]), torch.tensor([8.0])
    norm.weight.data.fill_(6)
    norm.bias.data.fill_(5)
    network = nn.Sequential(conv, norm, nn.Conv2d(1, 3, 1)).eval()
    network = nn.Sequential(nn.Conv2d(3, 1, 1), network).eval()
    fold_batchnorm(network, 4, "two layers")
    state = network.state_dict()
    assert float(state["1.0.weight"]) == 6
    assert float(state["1.1.bias"]) == -3
    assert float(state["1.1.weight"]) == 1
    assert float(state["1.1.running_mean"]) == 0
    # Its own epsilon makes it the identity.
    assert float(state["1.1.running_var"]) == 0
    assert {name for name, _ in network.named_parameters()} >= {"1.0.weight", "1.1.bias"}
    assert "1.0.bias" not in state


@pytest.mark.parametrize("name", ["mini-resnet8", "timm/efficientnet_lite0", "torchvision/resnet18"])
def test_all_of_a_network_is_folded_and_computes_the_same(name: str) -> None:
    loaded = load_classifier(ModelConfig(name, "random", image_size=32))
    plain = randomized(loaded.encoder)
    folded = copy.deepcopy(plain)
    fold_batchnorm(folded, 32, name)
    assert has_batchnorm(plain)
    assert not has_batchnorm(folded)
    with torch.no_grad():
        torch.testing.assert_close(folded(images()), plain(images()), rtol=1e-3, atol=1e-4)
    assert list(folded.state_dict()) == list(plain.state_dict()) or set(folded.state_dict()) == set(plain.state_dict())


def test_a_trained_folded_network_loads_strictly_into_timm_and_copies_are_their_own(tmp_path: Path) -> None:
    config = ModelConfig("timm/efficientnet_lite0", "random", image_size=32, fold_batchnorm=True, frozen_blocks=3)
    loaded = load_classifier(config)
    network = ImageClassifier(loaded, fresh_head(3, loaded.width, 0), frozen_blocks=3).train()
    twin = copy.deepcopy(network)
    torch.autograd.backward(network(images()).square().sum())
    assert all(one.grad is not None for one in network.trainable().values())
    weights = {name: tensor + 0.05 for name, tensor in network.weights().items()}
    assert "blocks.3.0.bn1.bias" in weights
    assert "blocks.3.0.bn1.weight" not in weights
    network.load(weights)
    model = timm.create_model("efficientnet_lite0", num_classes=3)
    model.load_state_dict(load_tensors(network.export(weights, tmp_path, {"format": "pt"})), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images()), network.eval()(images()), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(twin.eval()(images()), network(images()))


def test_what_cannot_be_folded_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`vit` .* is not known to have a convolution before each BatchNorm"):
        fold_batchnorm(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).eval(), 8, "vit")
    with pytest.raises(ConfigError, match=r"`model.fold_batchnorm` is for image classifiers, but `mini-rn` is a CLIP"):
        read_recipe(None, ["--model.fold_batchnorm=true"])
    live = ["--model.name=mini-resnet8", "--model.fold_batchnorm=true", "--model.statistics=live"]
    with pytest.raises(ConfigError, match=r"but with `model.statistics` `live` they move; leave one of them out"):
        read_recipe(None, live)


def test_a_network_that_runs_its_layers_in_another_order_is_refused() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = self.conv(self.norm(given))
            return found

    with pytest.raises(ConfigError, match=r"`crossed`"):
        fold_batchnorm(randomized(Crossed()), 8, "crossed")
