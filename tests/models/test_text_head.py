from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from hamdg.config.recipe import ModelConfig
from hamdg.data.benchmarks.mini import MINI
from hamdg.data.benchmarks.officehome import OFFICEHOME
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.benchmarks.vlcs import VLCS
from hamdg.errors import ConfigError, WeightsError
from hamdg.models import encode_prompts, load_clip, logit_scale
from hamdg.models.text_head import COINCIDE, coinciding, unknown_words

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
    classes, prompts = ["dog", "house", "guitar"], ["a {}", "a drawing of a {}.", "{}"]
    expected = []
    for name in classes:
        features = [encode_prompts(LOADED, [name], [prompt])[0] for prompt in prompts]
        expected.append(normalize(sum(features, torch.zeros(16)) / 3, dim=0))

    torch.testing.assert_close(encode_prompts(LOADED, classes, prompts), torch.stack(expected))


@pytest.mark.parametrize("prompt", ["a photo", "{} {}"])
def test_prompt_without_one_place_for_the_class(prompt: str) -> None:
    message = f"Expected every template of `teacher.prompts` to have one `{{}}` for the class, but got `{prompt}`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        encode_prompts(LOADED, ["dog"], ["a {}", prompt], section="teacher")


def test_no_prompt() -> None:
    with pytest.raises(ConfigError, match=r"^`model.prompts` is empty; give at least one template, such as "):
        encode_prompts(LOADED, ["dog"], [])


def test_logit_scale_is_the_exponential_and_at_most_a_hundred() -> None:
    assert logit_scale(LOADED) == pytest.approx(1 / 0.07)
    large = replace(LOADED, model=load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random")).model)
    torch.nn.init.constant_(large.model.logit_scale, 9.0)
    assert logit_scale(large) == 100.0


SHIPPED_CLIP = load_clip(ModelConfig("mini-rn"))


def test_words_that_the_text_tower_never_heard_are_refused_by_name() -> None:
    shapes = ["circle", "cross", "square", "triangle"]
    message = (
        "The text tower of `mini-rn` gives the classes `circle`, `cross`, `square`, `triangle` the same features under "
        "`model.prompts` (`a photo of a {}.`), so that no image could tell them apart: it does not know these words"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        encode_prompts(SHIPPED_CLIP, shapes, ["a photo of a {}."])


@pytest.mark.parametrize(
    ("trains_text", "switches"),
    [(False, "--model.text_head=source_means"), (True, "--model.text_tower=frozen --model.text_head=source_means")],
)
def test_the_ways_out_of_unknown_words_are_those_that_the_recipe_allows(trains_text: bool, switches: str) -> None:
    with pytest.raises(ConfigError) as caught:
        encode_prompts(SHIPPED_CLIP, ["circle", "cross"], ["a {}"], trains_text=trains_text)
    assert str(caught.value).endswith(
        f"Give the classes other words (`data.words`), learn their features from the sources' images (`{switches}` or "
        "`linear_probe`), or set `model.prompts` or `model.name` to others."
    )


def test_only_the_classes_that_coincide_are_named_and_a_long_list_is_cut() -> None:
    with pytest.raises(ConfigError, match=r"the classes `circle`, `square` the same features"):
        encode_prompts(SHIPPED_CLIP, ["dog", "circle", "house", "square"], ["a photo of a {}."])
    with pytest.raises(ConfigError) as caught:
        encode_prompts(SHIPPED_CLIP, OFFICEHOME.classes, ["a photo of a {}."])
    assert "`Backpack`, `Batteries`, " in str(caught.value)
    assert " more" in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_the_classes_that_the_shipped_models_know_pass(name: str) -> None:
    loaded = load_clip(ModelConfig(name))
    for known in (MINI, PACS, VLCS):
        assert len(encode_prompts(loaded, known.classes, known.prompts)) == len(known.classes)


def test_words_stand_for_the_classes_in_prompts_and_in_messages() -> None:
    ids, words = ["n1", "n2", "n3"], ["dog", "horse", "dog"]
    named = encode_prompts(SHIPPED_CLIP, words[:2], ["a {}"])
    assert torch.equal(encode_prompts(SHIPPED_CLIP, ids[:2], ["a {}"], words[:2]), named)
    with pytest.raises(
        ConfigError, match=r"the classes `n1` \(called `dog`\), `n3` \(called `dog`\) the same features"
    ):
        encode_prompts(SHIPPED_CLIP, ids, ["a {}"], words)


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_words_that_a_text_tower_never_heard_are_known_by_their_zeros(name: str) -> None:
    loaded = load_clip(ModelConfig(name))
    assert unknown_words(loaded, ["dog", "circle", "alarm clock", "zigzag", "person"]) == ["circle", "zigzag"]
    assert unknown_words(LOADED, ["circle", "zigzag"]) == []


def test_features_coincide_below_the_threshold_only() -> None:
    features = torch.eye(4)[[0, 1, 1, 2, 0]]
    features[2, 3], features[4, 3] = 0.9 * COINCIDE, 1.1 * COINCIDE
    assert coinciding(features) == [[1, 2]]
    assert coinciding(features[:1]) == []
    assert coinciding(features[[1, 0, 2, 1, 0]]) == [[0, 2, 3], [1, 4]]


def test_a_text_tower_that_gives_no_numbers_is_not_asked_for_words() -> None:
    broken = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random"))
    broken.model.token_embedding.weight.data.fill_(torch.inf)
    with pytest.raises(WeightsError, match=r"^The text tower of `tiny-vit` gives values that are not finite numbers"):
        encode_prompts(broken, ["dog", "cat"], ["a {}"])


def test_a_prompt_that_the_text_tower_would_cut_is_refused_with_the_number_of_its_tokens() -> None:
    long = "very " * 9 + "old dog"
    # "a photo of a", 11 words and ".", and the start and the end of the text.
    with pytest.raises(ConfigError) as caught:
        encode_prompts(LOADED, ["dog", "cat"], ["a photo of a {}."], ["dog", long])
    assert str(caught.value).startswith(f"The prompt `a photo of a {long[:20]}")
    assert str(caught.value).endswith(
        f"has 18 tokens, but the text tower of `{LOADED.name}` takes 16 and would not read the rest; give the class a "
        "shorter word (`data.words`), or shorten `model.prompts`."
    )
    # One that just fits is read to its end.
    fits = encode_prompts(LOADED, ["dog", "cat"], ["a {}"], ["very " * 12 + "dog", "very " * 12 + "cat"])
    assert float((fits[0] - fits[1]).norm()) > 1e-3
