from __future__ import annotations

import pytest

from hamdg.models import layer_of


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
