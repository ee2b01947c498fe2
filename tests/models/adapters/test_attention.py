"""Which towers have self-attention that adapters know, and how the others are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import has_class_token, self_attentions
from hamdg.models.clip import load_clip
from tests.tiny import CONF


def custom(**options: Any) -> nn.Module:
    """Return an open_clip tower whose blocks have open_clip's own attention instead of torch's."""
    tower: nn.Module = VisionTransformer(32, 16, 16, 2, 2, 2.0, output_dim=8, **options)
    return tower


def timm_tower(name: str, **options: Any) -> nn.Module:
    tower: nn.Module = timm.create_model(name, pretrained=False, img_size=32, patch_size=16, depth=2, **options)
    return tower


def test_the_blocks_of_open_clips_tower_in_their_order() -> None:
    found = self_attentions(load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random")).encoder, "tiny-vit")
    assert [one.block for one in found] == ["transformer.resblocks.0", "transformer.resblocks.1"]
    assert [(one.heads, one.head_width, one.normalizes) for one in found] == [(2, 8, False)] * 2
    assert [[part.holds for part in one.inputs] for one in found] == [[("q", "k", "v")]] * 2


@pytest.mark.parametrize(("inner", "normalizes"), [(False, False), (True, True)])
def test_open_clips_own_attention(inner: bool, normalizes: bool) -> None:
    found = self_attentions(custom(scale_attn_inner=inner, scale_heads=True), "custom")
    assert [(one.heads, one.head_width, one.normalizes) for one in found] == [(2, 8, normalizes)] * 2


def test_timms_attention_with_stacked_and_with_separate_projections() -> None:
    plain = self_attentions(timm_tower("vit_tiny_patch16_224"), "plain")
    assert [(one.block, one.heads, one.head_width) for one in plain] == [("blocks.0", 3, 64), ("blocks.1", 3, 64)]
    assert [part.holds for part in plain[0].inputs] == [("q", "k", "v")]
    separate = self_attentions(timm_tower("eva02_base_patch14_224", embed_dim=48, num_heads=3), "separate")
    assert [part.holds for part in separate[0].inputs] == [("q",), ("k",), ("v",)]
    assert (separate[0].heads, separate[0].head_width) == (3, 16)


def test_a_class_token_is_first_in_open_clips_towers_and_in_some_of_timms() -> None:
    assert has_class_token(custom())
    for options, has in (({}, True), ({"class_token": False, "global_pool": "avg"}, False)):
        wrapped = nn.Module()
        wrapped.trunk = timm_tower("vit_tiny_patch16_224", **options)
        assert has_class_token(wrapped) == has


def test_a_tower_without_blocks_of_attention_is_refused_by_name() -> None:
    tower = load_clip(ModelConfig("mini-rn")).encoder
    message = (
        "The image tower of `mini-rn` (`ModifiedResNet`) has no blocks with self-attention, which adapters need; set "
        "`model.name` to a CLIP with a vision transformer, such as `mini-vit`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        self_attentions(tower, "mini-rn")


def test_attention_of_an_unknown_kind_is_refused_by_name() -> None:
    class WindowAttention(nn.Module):
        pass

    tower = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": WindowAttention()})])})
    message = (
        "Adapters do not know the self-attention of `odd` (`WindowAttention` in `layers.0`); set `model.name` to a "
        "CLIP with a plain vision transformer, such as `mini-vit` or `ViT-B-16`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        self_attentions(tower, "odd")


def test_attention_over_other_tokens_is_no_block() -> None:
    pooled = custom(attentional_pool=True, attn_pooler_heads=2)
    assert any(isinstance(one, nn.MultiheadAttention) for one in pooled.get_submodule("attn_pool").modules())
    assert len(self_attentions(pooled, "pooled")) == 2
    assert torch.is_tensor(pooled(torch.zeros(1, 3, 32, 32)))
