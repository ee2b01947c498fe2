"""Image classifiers as networks: features, scores, statistics, and files that their libraries load."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models import load_pretrained
from hamdg.models.architectures import build, find_architecture
from hamdg.models.classifier import load_classifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.network import has_batchnorm, unmoved_statistics

CONF = Path(__file__).parents[1] / "conf"
CLASSES = ("dog", "elephant", "guitar")
NAMES = ["mini-resnet8", "timm/resnet10t", "torchvision/mobilenet_v3_small"]


def network(name: str = "mini-resnet8", seed: int = 0) -> ImageClassifier:
    loaded = load_classifier(ModelConfig(name, "random"))
    return ImageClassifier(loaded, fresh_head(len(CLASSES), loaded.width, seed), CLASSES)


def images(count: int = 4, side: int = 48) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_the_linear_layer_starts_from_what_the_seed_draws() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, other = network(), network(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.head.weight, network().head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert not one.head.bias.any()
    assert one.head.weight.abs().max() <= 1 / 96**0.5


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_features_are_the_library_s_own(name: str) -> None:
    own = network(name).eval()
    with torch.no_grad():
        features = own.features(images())
        assert features.shape == (4, own.head.in_features)
        torch.testing.assert_close(own.scores(features), own.body(images()), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own(images()), own.body(images()), rtol=1e-4, atol=1e-4)


def test_convolutions_see_channels_last_and_give_the_gradients_of_any_other_layout() -> None:
    own, other = network().eval(), network().eval()
    layouts = []
    for layer in own.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda _, given, found: layouts.append(found.is_contiguous(memory_format=torch.channels_last))
            )
    torch.autograd.backward(own(images()).square().sum())
    torch.autograd.backward(other.body(images()).square().sum())
    assert len(layouts) > 5
    assert all(layouts)
    for mine, theirs in zip(own.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_everything_is_trained_and_a_copy_is_on_its_own() -> None:
    own = network()
    twin = copy.deepcopy(own)
    assert own.weights().keys() == dict(own.body.named_parameters()).keys()
    torch.autograd.backward(cross_entropy(twin.train()(images()), torch.tensor([0, 1, 2, 0])))
    assert all(parameter.grad is not None for parameter in twin.parameters())
    assert all(parameter.grad is None for parameter in own.parameters())
    twin.load({name: tensor + 1 for name, tensor in own.weights().items()})
    assert not torch.equal(twin.head.weight, own.head.weight)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_files_load_strictly_into_the_library_s_network_and_give_the_same_scores(
    tmp_path: Path, name: str, live: bool
) -> None:
    own = network(name)
    own.live_statistics = live
    own.train()
    own(images())
    own.eval()
    with torch.no_grad():
        weights = {k: v + 0.01 if v.is_floating_point() else v for k, v in own.weights().items()}
        own.load(weights)
        expected = own(images())
    path = own.export(weights, tmp_path, {"who": "test"})
    assert path == tmp_path / "merged.safetensors"

    library, _, plain = name.rpartition("/")
    if library == "timm":
        alone: nn.Module = timm.create_model(plain, num_classes=len(CLASSES))
    elif library == "torchvision":
        alone = torchvision.models.get_model(plain, num_classes=len(CLASSES))
    else:
        alone = build(find_architecture(name))
        alone.fc = nn.Linear(96, len(CLASSES))
    alone.load_state_dict(load_tensors(path), strict=True)
    with torch.no_grad():
        # Images lie otherwise in memory here, so that sums are rounded otherwise.
        torch.testing.assert_close(alone.eval()(images()), expected, rtol=1e-4, atol=1e-4)
    facts = read_metadata(path)
    assert (facts["who"], facts["hamdg.model"], json.loads(facts["hamdg.classes"])) == ("test", name, list(CLASSES))
    assert json.loads(facts["hamdg.preprocess"])["side"] == own.preprocess.side


@pytest.mark.parametrize("live", [False, True])
def test_statistics_move_and_are_weights_where_they_are_live(live: bool) -> None:
    own = network()
    own.live_statistics = live
    own.train()
    names = [name for name, _ in own.body.named_buffers()]
    before = {name: tensor.clone() for name, tensor in own.body.named_buffers()}
    own(images())
    moved = {name for name, tensor in own.body.named_buffers() if not torch.equal(tensor, before[name])}
    assert moved == (set(names) if live else set())
    assert set(own.weights()) & set(names) == moved
    counters = [tensor for name, tensor in own.weights().items() if name.endswith("num_batches_tracked")]
    assert all(tensor.dtype == torch.int64 for tensor in counters)


def test_what_is_only_looked_at_moves_no_statistics_and_leaves_gradients_as_they_are() -> None:
    own = network()
    own.live_statistics = True
    twin = copy.deepcopy(own).train()
    own.train()
    labels = torch.tensor([0, 1, 2, 0])
    for one in (own, twin):
        loss = cross_entropy(one(images()), labels)
        if one is own:
            with torch.no_grad(), unmoved_statistics(own):
                own(5 + images())
        torch.autograd.backward(loss)
    assert all(torch.equal(a, b) for a, b in zip(own.buffers(), twin.buffers(), strict=True))
    pairs = zip(own.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs if a.grad is not None and b.grad is not None)


def test_live_statistics_need_batchnorm() -> None:
    config = ModelConfig(str(CONF / "tiny-vit.json"), "random", statistics="live")
    with pytest.raises(ConfigError, match=r"^`model.statistics` is `live`, but `.*tiny-vit.json` has no BatchNorm"):
        load_pretrained(config)
    tower = load_pretrained(ModelConfig(str(CONF / "tiny-rn.json"), "random", statistics="live"))
    assert has_batchnorm(tower.encoder)
    assert has_batchnorm(load_pretrained(ModelConfig("mini-resnet8", statistics="live")).encoder)


def test_a_layer_of_half_precision_features_gives_scores_in_full() -> None:
    own = network().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert own(images()).dtype == torch.float32
