from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import timm
import torch
import torchvision
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from hamdg.config.recipe import ModelConfig
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier, ClipTowers
from hamdg.models.layer_outputs import layer_outputs, stage_layers
from hamdg.models.mini_resnet import MiniResNet

CONF = Path(__file__).parents[1] / "conf"
RN, VIT = (load_clip(ModelConfig(name=str(CONF / f"tiny-{kind}.json"), weights="random")) for kind in ("rn", "vit"))
STAGES = ["layer1", "layer2", "layer3", "layer4"]


def on_meta(kind: str) -> nn.Module:
    with torch.device("meta"):
        if kind == "open_clip":
            model: nn.Module = open_clip.create_model("ViT-B-16", pretrained=None, device="meta").visual
        elif kind == "timm":
            model = timm.create_model("vit_base_patch16_224", pretrained=False)
        else:
            model = torchvision.models.vit_b_16()
    return model


@pytest.mark.parametrize(
    ("kind", "stem", "block"),
    [
        ("open_clip", "conv1", "transformer.resblocks.{}"),
        ("timm", "patch_embed", "blocks.{}"),
        ("torchvision", "conv_proj", "encoder.layers.encoder_layer_{}"),
    ],
)
def test_of_twelve_blocks_the_published_ones_are_taken(kind: str, stem: str, block: str) -> None:
    assert stage_layers(on_meta(kind)) == [stem, *(block.format(number) for number in (2, 5, 8, 11))]


def test_of_resnets_the_stem_and_every_stage_are_taken() -> None:
    assert stage_layers(RN.model.visual) == ["avgpool", *STAGES]
    with torch.device("meta"):
        assert stage_layers(torchvision.models.resnet18()) == ["maxpool", *STAGES]
        assert stage_layers(timm.create_model("resnet18", pretrained=False)) == ["maxpool", *STAGES]
        assert stage_layers(MiniResNet((4, 4, 4))) == ["relu", *STAGES[:3]]


def test_names_are_those_of_the_whole_and_the_text_tower_has_no_stages() -> None:
    tokens = torch.zeros(3, 16, dtype=torch.long)
    blocks = ["visual.conv1", "visual.transformer.resblocks.0", "visual.transformer.resblocks.1"]
    assert stage_layers(ClipTowers(VIT, tokens, 3).body) == blocks
    assert stage_layers(nn.Sequential(nn.Linear(2, 2))) == []


def test_outputs_are_those_of_the_layers_and_nothing_stays_behind() -> None:
    network, images = ClipClassifier(RN, torch.eye(16)[:3]).eval(), torch.randn(2, 3, 32, 32)
    with layer_outputs(network.body, ["layer1", "avgpool"]) as found:
        features = network.features(images)
    assert list(found) == ["avgpool", "layer1"]
    tower = network.visual
    assert isinstance(tower, ModifiedResNet)
    stem = tower.stem(images)
    torch.testing.assert_close(found["avgpool"], stem)
    torch.testing.assert_close(found["layer1"], tower.layer1(stem))
    with layer_outputs(network.body, ["layer1"]) as again:
        torch.testing.assert_close(network.features(images), features)
    assert torch.equal(again["layer1"], found["layer1"])
    assert not any(module._forward_hooks for module in network.modules())
