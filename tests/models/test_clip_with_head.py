"""CLIP's image tower with a linear layer: what it computes, what it trains, what its files hold."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from hamdg.config.recipe import ModelConfig
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models.clip import LoadedClip, build_clip, load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.clip_with_head import ClipWithHead
from hamdg.models.text_head import encode_prompts
from tests.tiny import CONF, Tower

WORDS, PROMPTS = ["dog", "alarm clock", "house"], ["a photo of a {}.", "a {}"]


def tiny(kind: Tower) -> LoadedClip:
    return load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_a_trained_head_starts_with_the_scores_of_the_class_features(kind: Tower) -> None:
    loaded = tiny(kind)
    class_features = encode_prompts(loaded, WORDS, PROMPTS)
    frozen = ClipClassifier(loaded, class_features).eval()
    network = ClipWithHead(loaded, frozen.logit_scale * class_features).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images()), frozen(images()), rtol=1e-5, atol=1e-5)
    assert network.head.bias is None
    assert set(network.trainable()) == {*(f"visual.{name}" for name in frozen.trainable()), "head.weight"}


@pytest.mark.parametrize("normalized", [False, True])
def test_scores_and_gradients_are_those_of_a_linear_layer(normalized: bool) -> None:
    """By hand: scores are W f + b; d loss / d W is the mean of (p - y) f^T, and d loss / d b that of p - y."""
    loaded, generator = tiny("vit"), torch.Generator().manual_seed(1)
    weight, bias = torch.randn(3, loaded.width, generator=generator), torch.randn(3, generator=generator)
    network = ClipWithHead(loaded, weight, bias, normalized=normalized).eval()
    with torch.no_grad():
        features = loaded.model.encode_image(images())
        features = normalize(features, dim=-1) if normalized else features
    scores = network(images())
    by_hand = torch.tensor([[sum(w * f) + b for w, b in zip(weight, bias, strict=True)] for f in features])
    torch.testing.assert_close(scores.detach(), by_hand)

    labels = torch.tensor([0, 1, 2, 0])
    torch.autograd.backward(cross_entropy(scores, labels))
    wrong = scores.detach().softmax(dim=1) - torch.eye(3)[labels]
    assert network.head.weight.grad is not None
    assert network.head.bias.grad is not None
    torch.testing.assert_close(network.head.weight.grad, wrong.T @ features / 4)
    torch.testing.assert_close(network.head.bias.grad, wrong.mean(dim=0))
    assert all(parameter.grad is not None for parameter in network.trainable().values())


def test_to_make_one_draws_nothing_and_copies_learn_apart() -> None:
    loaded, state = tiny("rn"), torch.get_rng_state()
    network = ClipWithHead(loaded, torch.ones(3, loaded.width), torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), state)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.head.weight.add_(1)
    assert twin.loaded is loaded
    assert torch.equal(network.head.weight, torch.ones(3, loaded.width))


@pytest.mark.parametrize("normalized", [False, True])
def test_the_files_are_a_plain_clip_and_a_layer_of_torch(normalized: bool, tmp_path: Path) -> None:
    loaded = tiny("rn")
    network = ClipWithHead(
        loaded, torch.ones(3, loaded.width), torch.zeros(3), normalized=normalized, classes=WORDS
    ).eval()
    weights = {name: tensor + 0.01 * (name == "head.bias") for name, tensor in network.weights().items()}
    weights["visual.conv1.weight"] = weights["visual.conv1.weight"] * 2
    folder = tmp_path / "seed0-12345678"
    folder.mkdir()
    state = load_tensors(network.export(weights, folder, {"format": "pt"}))

    alone = build_clip(json.loads((folder / "hamdg-tiny-rn-12345678.json").read_text()), "alone").eval()
    alone.load_state_dict(state, strict=True)
    head = torch.nn.Linear(loaded.width, 3)
    head.load_state_dict(load_tensors(folder / "head.safetensors"), strict=True)
    metadata = read_metadata(folder / "head.safetensors")
    assert json.loads(metadata["hamdg.classes"]) == WORDS
    assert metadata["hamdg.features"] == ("normalized" if normalized else "plain")
    network.load(weights)
    with torch.no_grad():
        features = alone.encode_image(images(), normalize=normalized)
        torch.testing.assert_close(head(features), network(images()))
    assert not torch.equal(state["visual.conv1.weight"], loaded.model.visual.conv1.weight)
