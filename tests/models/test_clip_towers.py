"""Both towers of a CLIP as one network: what it computes, what it trains, what its files hold."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from open_clip import get_model_config
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.config.recipe import ModelConfig
from hamdg.errors import WeightsError
from hamdg.merge.files import load_tensors
from hamdg.models.clip import LoadedClip, build_clip, load_clip
from hamdg.models.clip_classifier import ClipClassifier, ClipTowers
from hamdg.models.export import full_state
from hamdg.models.layers import layer_of
from hamdg.models.text_head import encode_prompts, prompt_tokens
from hamdg.models.tokenizer import tokenize

CONF = Path(__file__).parents[1] / "conf"
WORDS, PROMPTS = ["dog", "alarm clock", "house"], ["a photo of a {}.", "a {}"]
SCALE = 5.0


def tiny(kind: str) -> LoadedClip:
    return load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))


def towers_of(loaded: LoadedClip) -> ClipTowers:
    return ClipTowers(loaded, prompt_tokens(loaded, WORDS, PROMPTS), len(WORDS), SCALE)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def step(network: ClipTowers, count: int = 4) -> None:
    """Train by one step of plain gradient descent."""
    optimizer = torch.optim.SGD(network.trainable().values(), lr=1.0)
    network.train()
    torch.autograd.backward(cross_entropy(network(images(count)), torch.arange(count) % len(WORDS)))
    optimizer.step()


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_it_starts_where_frozen_class_features_are(kind: str) -> None:
    loaded = tiny(kind)
    frozen = ClipClassifier(loaded, encode_prompts(loaded, WORDS, PROMPTS), SCALE).eval()
    towers = towers_of(loaded).eval()
    with torch.no_grad():
        assert torch.equal(towers(images()), frozen(images()))
    frozen_names = {f"visual.{name}" for name in frozen.trainable()}
    assert {name for name in towers.trainable() if towers.tower_of(name) == "image"} == frozen_names


def test_both_towers_learn_but_for_the_words_and_the_scale() -> None:
    loaded = tiny("rn")
    towers, own = towers_of(loaded), {name: value.clone() for name, value in loaded.model.state_dict().items()}
    assert set(own) - set(towers.weights()) == {
        "token_embedding.weight",
        "logit_scale",
        # Statistics that do not move.
        *(name for name in own if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}),
    }
    step(towers)
    after = towers.clip.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, own[name])}
    assert {"text_projection", "positional_embedding", "ln_final.weight", "visual.conv1.weight"} <= moved
    assert all(name in moved for name in own if name.startswith("transformer.") and name.endswith(".weight"))
    assert moved <= set(towers.weights())
    # The CLIP that it is a copy of stays as it is.
    assert all(torch.equal(value, own[name]) for name, value in loaded.model.state_dict().items())


def test_the_gradient_of_a_text_is_that_of_its_class_by_hand() -> None:
    """Of one image with a fixed feature, d loss / d t_c is scale * (p_c - y_c) * feature."""
    towers = towers_of(tiny("vit")).eval()
    feature = towers.features(images(1)).detach()
    classes = towers.class_features()
    own = classes.detach().clone().requires_grad_()
    torch.autograd.backward(cross_entropy(SCALE * feature @ own.T, torch.tensor([1])))
    probabilities = (SCALE * feature @ classes.detach().T).softmax(dim=1)[0]
    expected = SCALE * (probabilities - torch.tensor([0.0, 1.0, 0.0]))[:, None] * feature
    torch.testing.assert_close(own.grad, expected)
    # Behind the classes lie the prompts: moving along this gradient, text tower alone, lowers the loss.
    before = cross_entropy(towers.scores(feature), torch.tensor([1]))
    torch.autograd.backward(before)
    with torch.no_grad():
        for parameter in towers.trainable().values():
            if parameter.grad is not None:
                parameter.sub_(1e-2 * parameter.grad)
        assert all(p.grad is None for name, p in towers.trainable().items() if towers.tower_of(name) == "image")
        assert cross_entropy(towers.scores(feature), torch.tensor([1])) < before


def test_class_features_are_the_normalized_means_of_the_prompts() -> None:
    loaded = tiny("vit")
    towers = towers_of(loaded)
    step(towers)
    with torch.no_grad():
        for number, word in enumerate(WORDS):
            tokens = tokenize(loaded, [prompt.format(word) for prompt in PROMPTS])
            mean = normalize(towers.clip.encode_text(tokens), dim=-1).mean(dim=0)
            torch.testing.assert_close(towers.class_features()[number], mean / mean.norm())


def test_copies_learn_apart_and_share_the_clip_that_completes_files(tmp_path: Path) -> None:
    loaded = tiny("rn")
    towers = towers_of(loaded)
    towers.live_statistics = True
    twin = copy.deepcopy(towers)
    step(twin)
    assert twin.loaded is loaded
    assert torch.equal(towers.clip.text_projection, loaded.model.text_projection)

    folder = tmp_path / "seed0-12345678"
    folder.mkdir()
    state = load_tensors(twin.export(twin.weights(), folder, {}))
    alone = build_clip(json.loads((folder / "hamdg-tiny-rn-12345678.json").read_text()), "alone").eval()
    alone.load_state_dict(state, strict=True)
    twin.eval()
    with torch.no_grad():
        texts = [
            alone.encode_text(tokenize(loaded, [prompt.format(w) for w in WORDS]), normalize=True) for prompt in PROMPTS
        ]
        classes = normalize(sum(texts, torch.zeros(())), dim=-1)
        torch.testing.assert_close(SCALE * alone.encode_image(images(), normalize=True) @ classes.T, twin(images()))
    assert not torch.equal(state["visual.bn1.running_mean"], loaded.model.visual.bn1.running_mean)


def test_a_text_tower_that_is_a_module_of_its_own_is_trained_too(tmp_path: Path) -> None:
    config = json.loads((CONF / "tiny-vit.json").read_text()) | {"custom_text": True}
    (tmp_path / "custom.json").write_text(json.dumps(config))
    towers = towers_of(load_clip(ModelConfig(str(tmp_path / "custom.json"), "random")))
    assert "text.token_embedding.weight" not in towers.weights()
    before = towers.clip.text.text_projection.detach().clone()
    step(towers)
    assert not torch.equal(towers.clip.text.text_projection, before)


def test_weights_that_the_clip_does_not_have_are_not_written() -> None:
    with pytest.raises(WeightsError, match=r"^The tensors to be written do not fit the model `tiny-rn`: 1 unexpected"):
        full_state(tiny("rn"), {"nonsense": torch.zeros(1)}, prefix="")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("visual.conv1.weight", "visual.conv1"),
        ("visual.layer1.0.conv1.weight", "visual.layer1.0"),
        ("transformer.resblocks.1.ln_1.bias", "transformer.resblocks.1"),
        ("text.transformer.resblocks.1.ln_1.bias", "text.transformer.resblocks.1"),
        ("text_projection", "text_projection"),
    ],
)
def test_layers_of_a_whole_clip(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_every_layer_of_both_towers_is_a_module() -> None:
    layers = towers_of(tiny("rn")).layers()
    assert list(layers)[:3] == ["visual.conv1", "visual.bn1", "visual.conv2"]
    assert isinstance(layers["transformer.resblocks.0"], nn.Module)


def small_rn50(tmp_path: Path) -> LoadedClip:
    """Build open_clip's RN50 with all of its blocks, but 4 channels and small images."""
    config = get_model_config("RN50")
    assert config is not None
    config |= {"embed_dim": 16, "text_cfg": json.loads((CONF / "tiny-rn.json").read_text())["text_cfg"]}
    config["vision_cfg"] |= {"width": 4, "head_width": 32, "image_size": 32}
    (tmp_path / "small-rn50.json").write_text(json.dumps(config))
    return load_clip(ModelConfig(str(tmp_path / "small-rn50.json"), "random"))


def test_rn50_trains_with_live_statistics(tmp_path: Path) -> None:
    loaded = small_rn50(tmp_path)
    with torch.device("meta"):
        whole = load_clip(ModelConfig("RN50", "random"), device="meta").model.visual
    assert list(loaded.model.visual.state_dict()) == list(whole.state_dict())
    for network in (ClipClassifier(loaded, encode_prompts(loaded, WORDS, PROMPTS)), towers_of(loaded)):
        network.live_statistics = True
        network.train()
        before = {name: value.clone() for name, value in network.weights().items()}
        loss = cross_entropy(network(images()), torch.arange(4) % 3)
        torch.autograd.backward(loss)
        layers = [layer for layer in network.body.modules() if isinstance(layer, _BatchNorm)]
        assert len(layers) == 3 + 3 * 16 + 4
        assert all(int(layer.num_batches_tracked or 0) == 1 for layer in layers)
        moved = {name for name, value in network.weights().items() if not torch.equal(value, before[name])}
        assert moved == {
            name for name in before if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
        }
        assert all(p.grad is not None for name, p in network.trainable().items() if "layer" in name)
        # What moved is what evaluation uses, and what a file of it holds.
        state = full_state(loaded, network.weights(), network.prefix)
        assert torch.equal(state["visual.layer4.2.bn3.running_var"], layers[-1].running_var)  # type: ignore[arg-type]
        assert bool(torch.isfinite(network.eval()(images())).all())
