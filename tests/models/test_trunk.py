"""Frozen low layers of image classifiers: which networks have them, and that nothing else changes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.models.batchnorm import reestimated
from hamdg.models.classifier import load_classifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.trunk import check_blocks

# A network, a number of stages, and tensors below and above the cut.
NETWORKS = [
    ("mini-resnet8", 1, "layer1.0.conv1.weight", "layer2.0.conv1.weight"),
    ("timm/efficientnet_lite0", 3, "blocks.2.1.conv_pw.weight", "blocks.3.0.conv_pw.weight"),
    ("timm/resnet10t", 2, "layer2.0.conv1.weight", "layer3.0.conv1.weight"),
    ("torchvision/resnet18", 1, "layer1.1.bn2.weight", "layer2.0.conv1.weight"),
]


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def network(blocks: int, name: str = "mini-resnet8", live: bool = False) -> ImageClassifier:
    loaded = load_classifier(ModelConfig(name, "random", image_size=32, frozen_blocks=blocks))
    made = ImageClassifier(loaded, fresh_head(3, loaded.width, 0), frozen_blocks=blocks)
    made.live_statistics = live
    return made.train()


def gradients(made: ImageClassifier, given: Tensor) -> dict[str, Tensor]:
    made.zero_grad()
    torch.autograd.backward(made(given).square().sum())
    return {name: one.grad for name, one in made.body.named_parameters() if one.grad is not None}


@pytest.mark.parametrize(("name", "blocks", "below", "above"), NETWORKS)
def test_a_frozen_trunk_changes_neither_scores_nor_the_gradients_above_it(
    name: str, blocks: int, below: str, above: str
) -> None:
    whole, cut = network(0, name), network(blocks, name)
    assert cut.trunk is not None
    torch.testing.assert_close(cut(images()), whole(images()))
    own, expected = gradients(cut, images()), gradients(whole, images())
    assert above in own
    assert below in expected
    assert below not in own
    assert set(own) == set(cut.weights()) == set(cut.trainable())
    for gradient_name, gradient in own.items():
        torch.testing.assert_close(gradient, expected[gradient_name], rtol=1e-4, atol=1e-5)
    # The same from activations, which are not in the graph.
    activations = cut.trunk(images())
    assert not activations.requires_grad
    assert activations.is_contiguous(memory_format=torch.channels_last)
    before = activations.clone()
    for gradient_name, gradient in gradients(cut, activations).items():
        assert torch.equal(gradient, own[gradient_name])
    assert torch.equal(activations, before)


def test_the_whole_network_is_exported_with_the_names_of_its_library(tmp_path: Path) -> None:
    cut, whole = network(3, "timm/efficientnet_lite0"), network(0, "timm/efficientnet_lite0")
    assert {name: one.shape for name, one in cut.state().items()} == {n: t.shape for n, t in whole.state().items()}
    weights = {name: tensor + 0.1 for name, tensor in cut.weights().items()}
    path = cut.export(weights, tmp_path, {"format": "pt"})
    loaded = timm.create_model("efficientnet_lite0", num_classes=3)
    loaded.load_state_dict(load_tensors(path), strict=True)
    cut.load(weights)
    torch.testing.assert_close(loaded.eval()(images()), cut.eval()(images()), rtol=1e-4, atol=1e-4)


def test_live_statistics_move_above_the_cut_alone() -> None:
    cut = network(1, live=True)
    assert cut.trunk is not None
    before = {name: tensor.clone() for name, tensor in cut.trunk.tensors().items()}
    start = {name: tensor.clone() for name, tensor in cut.weights().items()}
    cut(images())
    moved = {name for name, tensor in cut.weights().items() if not torch.equal(tensor, start[name])}
    assert "layer2.0.bn1.running_mean" in moved
    assert all("num_batches_tracked" in name or "running" in name for name in moved)
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in start)
    found = reestimated(cut, start, [images(), images(8)])
    assert "layer2.0.bn1.running_var" in found
    assert "bn1.running_var" not in found
    for name, tensor in cut.trunk.tensors().items():
        assert torch.equal(tensor, before[name])


def test_a_copy_shares_nothing_and_states_leave_the_trunk_out() -> None:
    cut = network(1)
    holder = nn.ModuleList([cut])
    assert not any("trunk" in name for name in holder.state_dict())
    holder.load_state_dict(holder.state_dict(), strict=True)
    twin = copy.deepcopy(cut)
    assert twin.trunk is not None
    assert cut.trunk is not None
    assert twin.trunk.identity == cut.trunk.identity
    next(twin.trunk.parameters()).data.add_(1)
    assert twin.trunk.identity != cut.trunk.identity
    assert network(2).trunk.identity != cut.trunk.identity  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "blocks", "words"),
    [
        ("mini-resnet8", 3, "`mini-resnet8` (`model.name`) has 3 stages, of which one must train; use at most 2."),
        ("torchvision/mobilenet_v3_small", 2, "is not known to be a stem and stages"),
        # Its activations are tokens, [n, length, width].
        ("timm/mixer_s32_224", 2, "is not known to be a stem and stages"),
        ("timm/vit_tiny_patch16_224", 2, "is not known to be a stem and stages"),
    ],
)
def test_networks_without_so_many_stages_are_refused(name: str, blocks: int, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_classifier(ModelConfig(name, "random", frozen_blocks=blocks))
    assert str(raised.value).startswith(f"`model.frozen_blocks` is {blocks}, but `{name}`" if blocks == 2 else "`model")
    assert words in str(raised.value)


def test_activations_that_look_like_images_are_refused() -> None:
    # Networks take three channels for images, which pass the frozen layers first.
    thin = nn.Sequential(OrderedDict(layer1=nn.Conv2d(3, 3, 1), layer2=nn.Conv2d(3, 4, 1)))
    with pytest.raises(ConfigError, match=r"`thin` .* is not known to be a stem and stages"):
        check_blocks(thin.eval(), 1, 8, "thin")
    wide = nn.Sequential(OrderedDict(layer1=nn.Conv2d(3, 4, 1), layer2=nn.Conv2d(4, 4, 1)))
    check_blocks(wide.eval(), 1, 8, "wide")


class Spoiling(nn.Module):
    """Two stages, the second of which writes into what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 4, 1)
        self.layer2 = nn.ReLU(inplace=True)

    def forward(self, given: Tensor) -> Tensor:
        found: Tensor = self.layer2(self.layer1(given))
        return found


def test_a_network_whose_layers_write_into_activations_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`spoiling` .* is not known to be a stem and stages"):
        check_blocks(Spoiling().eval(), 1, 8, "spoiling")
