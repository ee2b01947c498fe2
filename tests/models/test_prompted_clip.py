"""A CLIP with learned context vectors: what its text tower reads, what is trained, what is written."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models.clip import LoadedClip, load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.configs import section
from hamdg.models.prompted_clip import PromptedClip, embedded, prompted_tokens
from hamdg.models.text_head import encode_classes, encode_prompts, prompt_tokens

CONF = Path(__file__).parents[1] / "conf"
WORDS = ["dog", "alarm clock", "house"]
SHIPPED = load_clip(ModelConfig("mini-rn"))
TINY = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), "random"))


def custom() -> LoadedClip:
    """Return a tiny CLIP whose text tower is a module of its own, and whose positions tell texts apart."""
    config = {**TINY.config, "custom_text": True}
    options = {name: value for name, value in config.items() if name != "custom_text"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CustomTextCLIP(**options).eval()
    return replace(TINY, name="custom", model=model, config=config)


CLIPS = {"mini-rn": SHIPPED, "tiny": TINY, "custom": custom()}
EVERY = pytest.mark.parametrize("loaded", CLIPS.values(), ids=CLIPS)


def images(loaded: LoadedClip, count: int = 3) -> Tensor:
    side = loaded.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def vectors(loaded: LoadedClip, count: int = 4) -> Tensor:
    return torch.randn(count, embedded(loaded, "a").shape[1], generator=torch.Generator().manual_seed(1))


@EVERY
def test_the_embeddings_of_words_as_context_are_these_words(loaded: LoadedClip) -> None:
    context = embedded(loaded, "a photo of a")
    assert len(context) == 4
    network = PromptedClip(loaded, WORDS, context).eval()
    wanted = encode_prompts(loaded, WORDS, ["a photo of a {}."])
    with torch.no_grad():
        found = network.class_features(context)
        tokens = prompt_tokens(loaded, WORDS, ["a photo of a {}."])
        assert torch.equal(found, encode_classes(network.clip, tokens, len(WORDS)))
        # Torch rounds otherwise where weights need no gradient.
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        scores = ClipClassifier(loaded, wanted).eval()(images(loaded))
        torch.testing.assert_close(network(images(loaded)), scores, rtol=1e-5, atol=1e-4)


@EVERY
def test_any_context_is_what_the_towers_parts_make_of_the_embeddings(loaded: LoadedClip) -> None:
    """The same by hand: embeddings, positions, mask, transformer, norm, the end of the text, projection."""
    context, word = vectors(loaded, 5), "alarm clock"
    tower = loaded.model if isinstance(loaded.model, open_clip.CLIP) else loaded.model.text
    tokenizer = open_clip.SimpleTokenizer()
    ids = [tokenizer.sot_token_id, *[0] * 5, *tokenizer.encode(f"{word}."), tokenizer.eot_token_id]
    tokens = torch.tensor([[*ids, *[0] * (tower.context_length - len(ids))]])
    with torch.no_grad():
        x = tower.token_embedding(tokens).clone()
        x[0, 1:6] = context
        x = tower.ln_final(tower.transformer(x + tower.positional_embedding, attn_mask=tower.attn_mask))
        feature = x[0, len(ids) - 1]
        assert torch.equal(feature, text_global_pool(x, tokens, "argmax")[0])
        wanted = normalize(feature @ tower.text_projection, dim=-1)
        found = PromptedClip(loaded, [word], context).class_features(context)[0]
    torch.testing.assert_close(found, wanted)


def test_only_the_context_learns_and_only_through_the_text_tower() -> None:
    network = PromptedClip(TINY, WORDS, vectors(TINY)).train()
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    assert list(network.weights()) == list(network.trainable()) == ["prompt.context"]
    features = network.features(images(TINY))
    assert not features.requires_grad
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, weight_decay=0.1)
    torch.autograd.backward(cross_entropy(network(images(TINY)), torch.arange(3)))
    optimizer.step()
    moved = [name for name, tensor in network.named_parameters() if not torch.equal(tensor, before[name])]
    assert moved == ["prompt.context"]
    assert all(tensor.grad is None for name, tensor in network.named_parameters() if name not in moved)
    assert not network.clip.training
    # No hook stays behind: the copy reads plain prompts as before.
    tokens = open_clip.SimpleTokenizer()(["a dog"], context_length=16)
    assert torch.equal(network.clip.encode_text(tokens), TINY.model.encode_text(tokens))


def test_the_gradient_of_the_context_is_that_of_small_differences() -> None:
    network = PromptedClip(TINY, WORDS, vectors(TINY)).double()
    features, labels = network.features(images(TINY).double()), torch.arange(3)
    own = network.prompt["context"]

    def loss() -> Tensor:
        logits = network.logit_scale * features @ network.class_features(own).double().T
        return cross_entropy(logits, labels)

    torch.autograd.backward(loss())
    assert own.grad is not None
    with torch.no_grad():
        for row, column in ((0, 0), (3, 5)):
            values = []
            for change in (1e-2, -2e-2):
                own[row, column] += change
                values.append(float(loss()))
            own[row, column] += 1e-2
            assert (values[0] - values[1]) / 2e-2 == pytest.approx(float(own.grad[row, column]), rel=2e-2, abs=1e-4)


def test_classes_are_encoded_once_for_each_context_where_no_gradient_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, calls = PromptedClip(TINY, WORDS, vectors(TINY)).eval(), []
    encode = network.clip.encode_text

    def counted(tokens: Tensor, normalize: bool = False) -> Tensor:
        calls.append(len(tokens))
        found: Tensor = encode(tokens, normalize=normalize)
        return found

    monkeypatch.setattr(network.clip, "encode_text", counted)
    with torch.no_grad():
        first = [network(images(TINY)) for _ in range(3)]
        assert calls == [3]
        assert torch.equal(first[0], first[2])
        network.load({"prompt.context": 2 * vectors(TINY).flip(0)})
        moved = network(images(TINY))
        assert len(calls) == 2
    learning = network(images(TINY))
    assert len(calls) == 3
    assert learning.requires_grad
    torch.testing.assert_close(learning.detach(), moved)
    assert not torch.allclose(moved, first[0], atol=1e-3)


def test_states_hold_the_context_alone_and_copies_learn_apart() -> None:
    first, second = PromptedClip(TINY, WORDS, vectors(TINY)), PromptedClip(TINY, WORDS, torch.zeros(4, 8))
    state = nn.ModuleList([first]).state_dict()
    assert list(state) == ["0.prompt.context"]
    nn.ModuleList([second]).load_state_dict(state)
    assert torch.equal(second(images(TINY)), first(images(TINY)))
    twin = copy.deepcopy(second)
    twin.load({"prompt.context": torch.zeros(4, 8)})
    assert torch.equal(second(images(TINY)), first(images(TINY)))
    assert not torch.equal(twin(images(TINY)), first(images(TINY)))


def test_the_exported_clip_is_the_plain_one_and_a_linear_layer_lies_beside_it(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(len(WORDS))]
    network, context = PromptedClip(SHIPPED, WORDS, vectors(SHIPPED), classes=names).eval(), vectors(SHIPPED, 4) + 1
    path = network.export({"prompt.context": context}, tmp_path, {"format": "pt"})
    exported = load_tensors(path)
    assert all(torch.equal(exported[name], tensor) for name, tensor in SHIPPED.model.state_dict().items())
    head = load_tensors(tmp_path / "head.safetensors")
    assert torch.equal(head["context"], context)
    assert json.loads(read_metadata(tmp_path / "head.safetensors")["hamdg.classes"]) == names
    network.load({"prompt.context": context})
    with torch.no_grad():
        features = SHIPPED.model.encode_image(images(SHIPPED), normalize=True)
        torch.testing.assert_close(features @ head["weight"].T, network(images(SHIPPED)))


def test_a_context_that_leaves_no_room_for_a_class_is_refused_with_the_number_of_tokens() -> None:
    assert prompted_tokens(TINY, ["dog"], 12).shape == (1, 16)
    with pytest.raises(ConfigError) as caught:
        PromptedClip(TINY, ["dog", "alarm clock"], vectors(TINY, 12))
    assert str(caught.value) == (
        "The prompt `[12 vectors] alarm clock.` has 17 tokens, but the text tower of `tiny-vit` takes 16 and would not "
        "read the rest; give the class a shorter word (`data.words`), or use fewer vectors."
    )


def test_text_towers_without_embeddings_of_open_clips_tokens_are_refused_by_name() -> None:
    foreign = custom()
    foreign.model.add_module("text", nn.Identity())
    message = (
        r"^Context vectors stand among .*, but the text tower of `custom` is another one \(`{}`\) or has other tokens; "
        r"choose another `model\.name`\.$"
    )
    with pytest.raises(ConfigError, match=message.format("Identity")):
        PromptedClip(foreign, WORDS, torch.zeros(4, 8))
    text = {**section(TINY.config, "text_cfg"), "hf_tokenizer_name": "some/tokenizer"}
    with pytest.raises(ConfigError, match=message.format("TextTransformer")):
        embedded(replace(custom(), config={**TINY.config, "text_cfg": text}), "a photo")
