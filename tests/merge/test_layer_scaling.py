from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.layer_scaling import depths, layer_scales


def test_factors_of_a_vision_transformer_by_hand() -> None:
    """Three blocks: .25 + .5 * 0, .25 + .5 * 1/2, .25 + .5 * 2/2; everything outside blocks like the first."""
    factors = {
        "visual.class_embedding": 0.25,
        "visual.conv1.weight": 0.25,
        "visual.ln_pre.weight": 0.25,
        "visual.transformer.resblocks.0.attn.in_proj_weight": 0.25,
        "visual.transformer.resblocks.1.mlp.c_fc.weight": 0.5,
        "visual.transformer.resblocks.2.ln_2.bias": 0.75,
        "visual.ln_post.weight": 0.25,
        "visual.proj": 0.25,
        "logit_scale": 0.25,
    }
    assert layer_scales(tuple(factors), 0.25, 0.5) == factors


def test_blocks_are_counted_by_number_and_not_by_spelling() -> None:
    names = tuple(f"visual.transformer.resblocks.{i}.ln_1.weight" for i in (10, 2, 1, 0, 11, 3, 4, 5, 6, 7, 8, 9))
    assert depths(names) == {f"visual.transformer.resblocks.{i}.ln_1.weight": i / 11 for i in range(12)}


def test_two_towers_are_counted_apart() -> None:
    names = [f"visual.transformer.resblocks.{i}.ln_1.weight" for i in range(3)]
    names += [f"transformer.resblocks.{i}.ln_1.weight" for i in range(5)]
    assert list(depths(tuple(names)).values()) == [0.0, 0.5, 1.0, 0.0, 0.25, 0.5, 0.75, 1.0]


def test_the_blocks_of_a_residual_network_are_counted_through_its_steps() -> None:
    assert depths(
        (
            "visual.conv1.weight",
            "visual.layer1.0.conv1.weight",
            "visual.layer1.0.downsample.0.weight",
            "visual.layer1.1.bn2.bias",
            "visual.layer2.0.conv1.weight",
            "visual.layer3.0.downsample.1.weight",
            "visual.layer4.0.conv3.weight",
            "visual.attnpool.c_proj.weight",
        )
    ) == {
        "visual.conv1.weight": 0.0,
        "visual.layer1.0.conv1.weight": 0.0,
        "visual.layer1.0.downsample.0.weight": 0.0,
        "visual.layer1.1.bn2.bias": 0.25,
        "visual.layer2.0.conv1.weight": 0.5,
        "visual.layer3.0.downsample.1.weight": 0.75,
        "visual.layer4.0.conv3.weight": 1.0,
        "visual.attnpool.c_proj.weight": 0.0,
    }


@pytest.mark.parametrize(
    "expected",
    [
        # timm: ViT, ConvNeXt (its stem's numbers are not blocks; a stage's downsampling is in its first block), Swin
        {
            "patch_embed.proj.weight": 0.0,
            "blocks.0.mlp.fc1.weight": 0.0,
            "blocks.1.mlp.fc1.weight": 1.0,
            "norm.bias": 0.0,
        },
        {
            "stem.0.weight": 0.0,
            "stem.1.weight": 0.0,
            "stages.0.blocks.0.norm.weight": 0.0,
            "stages.1.downsample.1.weight": 0.5,
            "stages.1.blocks.0.norm.weight": 0.5,
            "stages.1.blocks.1.norm.weight": 1.0,
            "head.norm.weight": 0.0,
        },
        {"layers.0.blocks.0.w": 0.0, "layers.1.blocks.0.w": 0.5, "layers.2.blocks.0.w": 1.0, "layers.2.up.0.w": 1.0},
        # torchvision: ViT, ConvNeXt
        {
            "conv_proj.weight": 0.0,
            "encoder.layers.encoder_layer_0.mlp.3.weight": 0.0,
            "encoder.layers.encoder_layer_1.mlp.0.weight": 0.5,
            "encoder.layers.encoder_layer_2.ln_1.weight": 1.0,
            "heads.head.weight": 0.0,
        },
        {"features.1.0.block.0.weight": 0.0, "features.1.2.block.5.weight": 0.5, "features.3.0.block.0.weight": 1.0},
        # language models: sublayers are not blocks of their own
        {
            "encoder.block.0.layer.0.q.weight": 0.0,
            "encoder.block.0.layer.1.wi.weight": 0.0,
            "encoder.block.1.layer.0.q.weight": 1.0,
            "decoder.block.0.layer.2.wo.weight": 0.0,
        },
        {"transformer.h.0.mlp.weight": 0.0, "transformer.h.1.mlp.weight": 1.0, "transformer.wte.weight": 0.0},
        # plain sequences, where no name speaks of blocks
        {"0.weight": 0.0, "2.weight": 0.5, "4.weight": 1.0},
        {"net.0.weight": 0.0, "net.0.bias": 0.0, "net.3.bias": 1.0, "out.weight": 0.0},
        # a lone block, no blocks, nothing
        {"blocks.4.weight": 0.0, "norm.weight": 0.0},
        {"weight": 0.0, "layer1": 0.0},
        {},
    ],
)
def test_depths_of_other_networks(expected: dict[str, float]) -> None:
    assert depths(tuple(expected)) == expected


def test_the_merged_change_is_scaled_whatever_the_method() -> None:
    """Changes of 1 and 3: their sum is 4, their mean 2; the blocks' factors are .5, .75 and 1, outside blocks .5."""
    names = ["conv1.weight", "blocks.0.w", "blocks.1.w", "blocks.2.w"]
    base = {name: torch.full((2,), 10.0) for name in names}
    models = {"a": {name: base[name] + 1 for name in names}, "b": {name: base[name] + 3 for name in names}}
    for method, options, change in (
        ("task_arithmetic", {"scale": 1.0}, 4.0),
        ("uniform", {}, 2.0),
    ):
        merged = merge_with(method, models, base, options, MergeSettings(lines=(0.5, 0.5)))
        expected = [10 + factor * change for factor in (0.5, 0.5, 0.75, 1.0)]
        assert [tensor.tolist() for tensor in merged.values()] == [[value] * 2 for value in expected]


def test_alpha_one_and_beta_zero_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    base = {f"blocks.{i}.w": torch.randn(5, 4, generator=generator) for i in range(3)}
    models = {s: {name: t + torch.randn(5, 4, generator=generator) for name, t in base.items()} for s in "ab"}
    for method in ("task_arithmetic", "tsv"):
        plain = merge(method, models, base)
        scaled = merge(method, models, base, lines=(1.0, 0.0))
        assert all(torch.equal(plain[name], scaled[name]) for name in base)


def test_lines_need_a_base() -> None:
    message = "The setting `lines` works on the change from a start model; give it as `base`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge("uniform", {"a": {"w": torch.ones(1)}}, lines=(0.5, 0.5))
