from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from hamdg.config import ModelConfig
from hamdg.errors import ConfigError
from hamdg.models import encode_prompts, load_clip, logit_scale

CONF = Path(__file__).parents[1] / "conf"
LOADED = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random"))


def test_one_prompt_is_open_clips_own_feature() -> None:
    tokens = open_clip.SimpleTokenizer(context_length=16)(["a photo of a dog.", "a photo of a alarm clock."])
    with torch.no_grad():
        expected = LOADED.model.encode_text(tokens, normalize=True)

    head = encode_prompts(LOADED, ["dog", "alarm_clock"], ["a photo of a {}."])

    torch.testing.assert_close(head, expected)
    assert not head.requires_grad
    assert head.dtype == torch.float32


def test_several_prompts_are_averaged_as_unit_vectors() -> None:
    classes, prompts = ["dog", "house", "guitar"], ["a {}", "a drawing of a {}.", "{} {}"]
    expected = []
    for name in classes:
        features = [encode_prompts(LOADED, [name], [prompt])[0] for prompt in prompts]
        expected.append(normalize(sum(features, torch.zeros(16)) / 3, dim=0))

    torch.testing.assert_close(encode_prompts(LOADED, classes, prompts), torch.stack(expected))


def test_prompt_without_braces() -> None:
    with pytest.raises(ConfigError, match=r"Expected every template in `model.prompts` to hold `{}`.*got `a photo`\.$"):
        encode_prompts(LOADED, ["dog"], ["a {}", "a photo"])


def test_no_prompt() -> None:
    with pytest.raises(ConfigError, match=r"`model.prompts` to hold at least one template, but got an empty list"):
        encode_prompts(LOADED, ["dog"], [])


def test_logit_scale_is_the_exponential_and_at_most_a_hundred() -> None:
    assert logit_scale(LOADED) == pytest.approx(1 / 0.07)
    large = replace(LOADED, model=load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random")).model)
    torch.nn.init.constant_(large.model.logit_scale, 9.0)
    assert logit_scale(large) == 100.0
